"""CAST: saliency against object masks, crops against the rule, Grad-CAM by hand, losses against
loops."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from scipy.stats import kstest, truncnorm
from sklearn.metrics import average_precision_score
from torch import nn
from torch.nn import functional as F

from bench.contracts import registry
from bench.contracts.context import StageContext
from bench.contracts.images import ImageSet
from bench.contracts.network import Batch, Views
from bench.contracts.views import Source
from bench.core.errors import BadInput
from bench.data.scenes.draw import draw_scene
from bench.data.semantic import read_classes
from bench.views.loader import crop_resize
from methods.ssl.cast.network import attention_loss, shrink_mask
from methods.ssl.cast.saliency import Masks, find_masks, load_masks, saliency_map, salient_mask
from methods.ssl.cast.views import AUGMENT, CastViews, Salient, salient_crop, truncated_normal

B = 4
KINDS = ("boundary", "spectral_residual", "fine_grained")


def cast(**settings: Any) -> Any:
    small = {"dim": 8, "batch_size": B, "shuffle": "sync", **settings}
    return registry.load("method", "cast").resolve("tiny", small)


def batch(small: int = 0, seed: int = 0, size: int = 64) -> Batch:
    draw, none = torch.Generator().manual_seed(seed), torch.zeros(B, dtype=torch.bool)
    roles = ["view1", "view2", *(f"small{i + 1}" for i in range(small))]
    made = {
        r: Views(
            torch.randn(B, 3, size, size, generator=draw),
            torch.zeros(B, 4),
            none,
            torch.arange(B),
            none,
        )
        for r in roles
    }
    salient = (torch.rand(B, 2, size // 8, size // 8, generator=draw) < 0.3).repeat_interleave(
        8, 2
    )
    return Batch(made, {"salient": salient.repeat_interleave(8, 3).to(torch.uint8)}, 1, 10)


# saliency


def precision(kind: str, pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """Mean over images of the average precision of pixels: objects against background, void left
    out."""
    found = []
    for image, truth in pairs:
        kept = truth < 2
        found.append(average_precision_score(truth[kept], saliency_map(image, kind)[kept]))
    return float(np.mean(found))


def test_the_chosen_map_finds_the_objects_of_scenes_best() -> None:
    scenes = [draw_scene(0, i) for i in range(1, 13)]
    pairs = [(s.image, np.any(s.masks, 0).astype(int)) for s in scenes]
    chance = float(np.mean([truth.mean() for _, truth in pairs]))
    found = {kind: precision(kind, pairs) for kind in KINDS}
    assert found["boundary"] > 0.85
    assert found["boundary"] == max(found.values())
    assert min(found.values()) > 2 * chance
    good = [
        salient_mask(saliency_map(image, "boundary"))[truth == 1].mean() for image, truth in pairs
    ]
    bad = [
        salient_mask(saliency_map(image, "boundary"))[truth == 0].mean() for image, truth in pairs
    ]
    assert np.mean(good) > 0.5 > 0.1 > np.mean(bad)


@pytest.mark.skipif("BENCH_REAL_DATA" not in os.environ, reason="needs the VOC subset")
def test_the_chosen_map_finds_the_objects_of_photographs_best() -> None:
    root, pairs = Path(os.environ["BENCH_REAL_DATA"]) / "VOCdevkit" / "VOC2012", []
    names = (root / "ImageSets" / "Segmentation" / "train.txt").read_text().split()
    for name in names[::12]:
        image = cv2.imread(str(root / "JPEGImages" / f"{name}.jpg"))[..., ::-1]
        classes = read_classes(root / "SegmentationClass" / f"{name}.png")
        size = (image.shape[1] // 2, image.shape[0] // 2)
        small = cv2.resize(classes, size, interpolation=cv2.INTER_NEAREST)
        truth = np.where(small == 255, 2, small > 0).astype(int)
        pairs.append(
            (cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_AREA), truth)
        )
    found = {kind: precision(kind, pairs) for kind in KINDS}
    chance = np.mean([(truth == 1).sum() / (truth < 2).sum() for _, truth in pairs])
    assert found["boundary"] > max(found["spectral_residual"], found["fine_grained"]) + 0.05
    assert found["boundary"] > 2 * chance


def test_boundary_contrast_of_a_square_that_touches_one_side() -> None:
    """The strip that the object covers is left out, so the object stands out all the same."""
    image = np.full((60, 80, 3), (40, 90, 140), np.uint8)
    image[20:40, 0:30] = (200, 60, 30)
    mask = salient_mask(saliency_map(image, "boundary"))
    inside = np.zeros((60, 80), bool)
    inside[20:40, 0:30] = True
    assert (mask & inside).sum() / (mask | inside).sum() > 0.85
    assert not salient_mask(saliency_map(np.full((30, 40, 3), 77, np.uint8), "boundary")).any(), (
        "a flat image"
    )


@dataclass
class Blocks(ImageSet):
    """Grey images of different sizes with one red rectangle each; the last has none."""

    folder: Path
    name: str = "blocks"
    split: str = "train"
    classes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(0)
        self.ids = np.array([31, 7, 50, 12])
        self.sizes = np.array([[120, 90], [64, 100], [300, 200], [80, 80]], np.int32)
        self.boxes = [(30, 20, 80, 60), (10, 30, 50, 70), (150, 60, 290, 150)]
        for i, (width, height) in enumerate(self.sizes):
            image = np.full((height, width, 3), 128, np.uint8)
            for x1, y1, x2, y2 in self.boxes[i : i + 1]:
                image[y1:y2, x1:x2] = (*rng.integers(0, 40, 2), 220)
            cv2.imwrite(str(self.file(i)), image)

    def file(self, index: int) -> Path:
        return self.folder / f"{index}.png"


@pytest.fixture
def made(tmp_path: Path) -> tuple[Blocks, Path]:
    """The images and the stage's folder."""
    images, work = Blocks(tmp_path), tmp_path / "work"
    work.mkdir()
    method = cast(saliency_side=150)
    stage = method.stages(None, SimpleNamespace(key="k"))["saliency"]
    context = StageContext(stage, work, {}, SimpleNamespace(workers=0))  # type: ignore[arg-type]
    context.images = lambda role, split: images  # type: ignore[method-assign]
    find_masks(context)
    return images, work


def test_masks_go_by_position_and_shrink_with_the_images(made: tuple[Blocks, Path]) -> None:
    images, work = made
    table = load_masks(work, images)
    assert [table.of(i).shape for i in range(4)] == [(90, 120), (100, 64), (100, 150), (80, 80)]
    for i, (x1, y1, x2, y2) in enumerate(images.boxes):
        factor = 2 if i == 2 else 1
        rows, columns = np.nonzero(table.of(i))
        found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert np.array(found) * factor == pytest.approx([x1, y1, x2, y2], abs=6)
    assert not table.of(3).any()
    other = Blocks(images.folder)
    other.ids = images.ids[::-1]
    with pytest.raises(BadInput, match="other images"):
        load_masks(work, other)


# crops


@pytest.mark.parametrize(
    ("mean", "low", "high"), [(20.0, 10.0, 90.0), (95.0, 5.0, 30.0), (50.0, 40, 41)]
)
def test_truncated_normal_is_scipys(mean: float, low: float, high: float) -> None:
    u = np.random.default_rng(0).random(2000)
    found = [truncated_normal(mean, 40.0, low, high, x) for x in u]
    theirs = truncnorm((low - mean) / 40, (high - mean) / 40, mean, 40)
    np.testing.assert_allclose(found, theirs.ppf(u), atol=1e-6)
    assert kstest(found, theirs.cdf).pvalue > 1e-3
    assert truncated_normal(mean, 40.0, 7.0, 7.0, 0.3) == 7


def test_crops_keep_the_rule() -> None:
    """Inside, area and aspect in their limits, and at least 20 % of the salient pixels; a plain
    random resized crop often breaks the last."""
    mask = np.zeros((120, 200), bool)
    mask[10:40, 150:190] = True
    salient, rng = Salient(mask, (0, 0, 200, 120)), np.random.default_rng(0)
    centres, areas = [], []
    for _ in range(300):
        x1, y1, x2, y2 = (int(v) for v in salient_crop(rng, salient, (0.2, 1.0), 0.2, tries=200))
        assert 0 <= x1 < x2 <= 200
        assert 0 <= y1 < y2 <= 120
        assert mask[y1:y2, x1:x2].sum() >= 0.2 * mask.sum()
        assert 0.73 < (x2 - x1) / (y2 - y1) < 1.37
        areas.append((x2 - x1) * (y2 - y1) / mask.size)
        centres.append((x1 + x2) / 2)
    assert min(areas) > 0.195
    assert np.ptp(areas) > 0.4
    assert np.mean(centres) > 115, "around the object, which lies to the right"


def test_a_large_salient_region_lowers_the_share_asked_for() -> None:
    """All of the image is salient: a crop of a fifth holds a fifth of it, so every first try is
    taken."""
    whole = Salient(np.ones((100, 100), bool), (0, 0, 100, 100))
    rng, areas = np.random.default_rng(0), []
    for _ in range(200):
        x1, y1, x2, y2 = salient_crop(rng, whole, (0.05, 0.1), 0.9, tries=1)
        areas.append((x2 - x1) * (y2 - y1) / 1e4)
    assert 0.045 < min(areas) < 0.06
    assert max(areas) < 0.105


def test_after_failures_the_crop_surrounds_the_salient_pixels() -> None:
    mask = np.zeros((90, 160), bool)
    mask[60:80, 5:20] = True
    salient, rng = Salient(mask, (0, 0, 160, 90)), np.random.default_rng(3)
    for _ in range(100):
        x1, y1, x2, y2 = (int(v) for v in salient_crop(rng, salient, (0.2, 1.0), 0.2, tries=0))
        assert 0 <= x1 < x2 <= 160
        assert 0 <= y1 < y2 <= 90
        assert mask[y1:y2, x1:x2].sum() == mask.sum()
        assert 0.7 < (x2 - x1) / (y2 - y1) < 1.34
    line = np.zeros((90, 160), bool)
    line[44:46] = True
    x1, y1, x2, y2 = salient_crop(rng, Salient(line, (0, 0, 160, 90)), (0.2, 1.0), 1.0, tries=0)
    assert (x2 - x1) <= 1 + (y2 - y1) * 4 / 3, "too long to hold as a whole"


def test_masks_follow_the_views(made: tuple[Blocks, Path]) -> None:
    """In view and mask alike the red rectangle is found at the same place, inside boxes too."""
    images, work = made
    viewer = CastViews(load_masks(work, images), images.sizes, 96, (0.2, 1.0), AUGMENT, 0.2)
    seen, flips = 0, set()
    for seed in range(40):
        i = seed % 3
        box = None if seed % 2 else (5.0, 10.0, *(float(v) - 7 for v in images.sizes[i]))
        sample = viewer([Source(i, box), Source(i, box, "object")], np.random.default_rng(seed))
        assert [v.kind for v in sample.views] == ["scene", "object"]
        for spec, mask in zip(sample.views, sample.extra["salient"], strict=True):
            assert spec.box is not None
            assert spec.scale is None
            pixels = crop_resize(images.image(i), spec.box, 96).numpy().astype(int)
            red = (
                (pixels[0] - pixels[1] > 60)[:, ::-1] if spec.flip else pixels[0] - pixels[1] > 60
            )
            assert (red & (mask == 1)).sum() > 0.7 * (red | (mask == 1)).sum()
            seen += 1
            flips.add(spec.flip)
    assert seen == 80
    assert flips == {True, False}
    plain = viewer(
        [Source(3), Source(3), Source(3, role="small", size=32)], np.random.default_rng(0)
    )
    assert not plain.extra["salient"].any(), "nothing salient: a plain crop"
    assert [v.role for v in plain.views] == ["view1", "view2", "small1"]
    assert all(v.box is not None for v in plain.views[:2])


# losses


def between(mask: Any, y: float, x: float) -> float:
    """The mask at a point between pixel centres, weighed by nearness."""
    total = 0.0
    for row in range(mask.shape[0]):
        for column in range(mask.shape[1]):
            weight = max(0.0, 1 - abs(row - y)) * max(0.0, 1 - abs(column - x))
            total += weight * float(mask[row, column])
    return total


def plain_attention(maps: Any, gradient: Any, where: Any, reading: str) -> float:
    """Selvaraju et al. 2017, equations 1 and 2, and the cosine, in Python's float64."""
    cams, targets = [], []
    for n in range(len(maps)):
        _, height, width = maps[n].shape
        alpha = [float(g.mean()) for g in gradient[n].double()]
        cam = [
            [
                sum(a * float(m[y, x]) for a, m in zip(alpha, maps[n].double(), strict=True))
                for x in range(width)
            ]
            for y in range(height)
        ]
        step = where.shape[-1] // width
        mask = [
            [
                float(
                    where[n, y * step : (y + 1) * step, x * step : (x + 1) * step].double().mean()
                )
                for x in range(width)
            ]
            for y in range(height)
        ]
        if reading == "batch_code":
            ends = (where.shape[-1] - 1) / (width - 1)
            mask = [
                [between(where[n], y * ends, x * ends) for x in range(width)]
                for y in range(height)
            ]
        if sum(map(sum, mask)) > 0:
            cams.append([v for row in cam for v in row])
            targets.append([v for row in mask for v in row])

    def cosine(a: list[float], b: list[float]) -> float:
        norms = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
        return sum(x * y for x, y in zip(a, b, strict=True)) / norms if norms else 0.0

    if reading == "image_paper":
        found = [1 - cosine([max(v, 0) for v in c], t) for c, t in zip(cams, targets, strict=True)]
        return sum(found) / len(found)
    scaled = [[(v - min(c)) / (max(c) - min(c)) for v in c] for c in cams]
    return 1 - cosine([v for c in scaled for v in c], [v for t in targets for v in t])


@pytest.mark.parametrize("reading", ["image_paper", "batch_code"])
def test_attention_loss_equals_the_plain_loop(reading: str) -> None:
    torch.manual_seed(0)
    maps, gradient = torch.rand(4, 5, 3, 3), torch.randn(4, 5, 3, 3)
    where = (torch.rand(4, 12, 12) < 0.3).to(torch.uint8)
    where[2] = 0
    want = plain_attention(maps, gradient, where, reading)
    assert float(attention_loss(maps, gradient, where, reading)) == pytest.approx(want, rel=1e-4)
    order = torch.tensor([3, 1, 0, 2])
    assert float(
        attention_loss(maps[order], gradient[order], where[order], reading)
    ) == pytest.approx(want)
    nothing = attention_loss(maps, gradient, where * 0, reading)
    assert float(nothing) == 0, "never NaN"


@pytest.mark.parametrize("reading", ["image_paper", "batch_code"])
def test_attention_loss_is_least_where_the_map_is_the_mask(reading: str) -> None:
    where = torch.zeros(2, 12, 12, dtype=torch.uint8)
    where[0, :4, :8] = where[1, 8:, 4:] = 1
    mask = shrink_mask(where.float()[:, None], (3, 3), reading)
    ones = torch.ones(2, 1, 3, 3)
    assert float(attention_loss(mask, ones, where, reading)) == pytest.approx(0, abs=1e-5)
    assert float(attention_loss(1 - mask, ones, where, reading)) == pytest.approx(1, abs=1e-5), (
        "all beside it"
    )


def test_gradcam_of_a_linear_head_is_known() -> None:
    """Without the unit length, ds/dA is the head's weight times the key, spread evenly over the
    cells; the network's own gradient is checked against finite differences of the similarity."""
    torch.manual_seed(0)
    network = cast().network(40).eval().double()
    b = batch()
    images = b.views["view1"].images.double()
    with torch.no_grad():
        target = network.key(b.views["view2"].images.double(), b.views["view2"].objects)[0]
    unit, maps = network.query(images)
    (gradient,) = torch.autograd.grad((unit * target).sum(), maps)

    def similar(m: torch.Tensor) -> torch.Tensor:
        return (F.normalize(network.projector(m.mean((2, 3))), dim=1) * target).sum()

    with torch.no_grad():
        for n, c, y, x in ((0, 3, 0, 1), (2, 40, 1, 1), (3, 127, 1, 0)):
            step = torch.zeros_like(maps)
            step[n, c, y, x] = 1e-5
            slope = (similar(maps + step) - similar(maps - step)) / 2e-5
            assert float(slope) == pytest.approx(float(gradient[n, c, y, x]), abs=1e-8)


@pytest.mark.parametrize("symmetric", [False, True])
def test_losses_of_the_network_equal_loops(symmetric: bool) -> None:
    torch.manual_seed(0)
    network, b = cast(symmetric=symmetric, lambda_attention=2.0).network(40).train(), batch()
    images, salient = [b.views[f"view{i}"].images for i in (1, 2)], b.extra["salient"]
    queue, attention, image = network.queue.negatives(), [], []
    for one, two in ((0, 1), (1, 0))[: 1 + symmetric]:
        maps = network.backbone.maps(images[one])
        unit = F.normalize(network.projector(maps.mean((2, 3))), dim=1)
        with torch.no_grad():
            hidden = images[two].clone()
            hidden[salient[:, two, None].expand_as(hidden) == 0] = 0
            plain, masked = (
                F.normalize(network.key_projector(network.key_backbone(x)), dim=1)
                for x in (images[two], hidden)
            )
        (gradient,) = torch.autograd.grad((unit * masked).sum(), maps, retain_graph=True)
        attention.append(plain_attention(maps.detach(), gradient, salient[:, one], "image_paper"))
        logits = torch.cat([(unit * plain).sum(1, keepdim=True), unit @ queue.T], 1) / 0.07
        image.append(float(F.cross_entropy(logits, torch.zeros(B, dtype=torch.int64)).detach()))
    parts = {n: v.detach() for n, v in network.loss(b).items()}
    assert float(parts["attention"]) == pytest.approx(np.mean(attention), rel=1e-3)
    assert float(parts["image"]) == pytest.approx(np.mean(image), rel=1e-4)
    assert float(parts["loss"]) == pytest.approx(
        float(parts["image"]) / 3 + 2 / 3 * float(parts["attention"]), rel=1e-5
    )
    assert int(network.queue.position) == B * (1 + symmetric), "masked keys are not enqueued"


@pytest.mark.parametrize("heads", [1, 2])
def test_gradients_reach_every_query_parameter_and_no_key(heads: int) -> None:
    torch.manual_seed(0)
    network, b = (
        cast(lambda_image=0.0, shuffle="shuffle_bn").network(40, heads).train(),
        batch(small=1),
    )
    b.views["view1"].objects = torch.tensor([True, True, False, False])
    network.loss(b)["loss"].backward()
    for name, p in network.named_parameters():
        assert (p.grad is None) == name.startswith("key_") != p.requires_grad, name
    assert any(p.grad is not None and p.grad.any() for p in network.backbone.parameters())
    assert any(p.grad is not None and p.grad.any() for p in network.projector.parameters())


def test_a_step_against_the_attention_loss_turns_the_gradcam_to_the_mask() -> None:
    """A few steps on one batch with the attention loss alone: second derivatives have the right
    sign."""
    torch.manual_seed(0)
    network = cast(lambda_image=0.0, ema=0.99, backbone="resnet18").network(40).train()
    b = batch()
    optimizer = torch.optim.Adam([p for _, p in network.trainable()], 1e-3)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        parts = network.loss(b)
        parts["loss"].backward()
        optimizer.step()
        losses.append(float(parts["attention"].detach()))
    assert min(losses[-3:]) < losses[0] - 0.1


def test_one_cell_and_nothing_salient() -> None:
    """At 32 pixels the map is one cell; without a salient pixel there is no attention loss."""
    torch.manual_seed(0)
    network, b = cast().network(40).train(), batch(size=32)
    assert all(torch.isfinite(v.detach()).all() for v in network.loss(b).values())
    b.extra["salient"].zero_()
    parts = network.loss(b)
    parts["loss"].backward()
    assert float(parts["attention"].detach()) == 0
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in network.parameters())


def test_paper_settings_and_pictures(made: tuple[Blocks, Path]) -> None:
    """METHODS 1.11 and the published script: rate .5, clip 2, 3 : 1, one linear layer, tau .07."""
    p = registry.load("method", "cast").resolve("paper").params
    assert (p.lr, p.batch_size, p.grad_clip, p.tau, p.cover) == (0.5, 256, 2.0, 0.07, 0.2)
    assert (p.lambda_attention, p.lambda_image, p.hidden, p.dim, p.queue) == (
        3.0,
        1.0,
        0,
        128,
        65536,
    )
    assert isinstance(cast().network(40).projector, nn.Linear)
    assert isinstance(cast(hidden=16).network(40).projector, nn.Sequential)
    images, work = made
    picture = cast(image_size=32).inspect(images, {"saliency": work})["saliency"]
    assert picture.dtype == np.uint8
    assert picture.shape[2] == 3


def test_the_viewer_pickles(made: tuple[Blocks, Path]) -> None:
    import pickle

    images, work = made
    viewer = cast(image_size=32).viewer(images, {"saliency": work})
    again = pickle.loads(pickle.dumps(viewer))
    assert isinstance(again.masks, Masks)
    pair = [Source(0), Source(0)]
    one, two = (v(pair, np.random.default_rng(5)) for v in (viewer, again))
    assert [v.box for v in one.views] == [v.box for v in two.views]
    assert np.array_equal(one.extra["salient"], two.extra["salient"])
