"""SoCo: box rules, boxes that follow crop and flip through the real loader, correspondence, loss."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torchvision.ops import roi_align

from bench import registry
from bench.data.base import ImageSet
from bench.engine.proposals import ProposalTable
from bench.method import Batch, Views
from bench.nn.fpn import level_of, pool_rois, stage_maps
from bench.views.augment import MEAN, STD
from bench.views.loader import BatchOrder, make_loader, to_device
from bench.views.plan import Sample, Source
from bench.views.sample import NONE
from methods._soco_boxes import draw, inside, jitter, pad, usable
from methods._soco_parts import correspondence, cutout, own_level, soco_loss
from methods.ssl.soco import SocoNetwork, SocoViews

Paired = type("Paired", (), {"style": "paired"})


def soco(**settings: object):  # type: ignore[no-untyped-def]
    small = {"hidden": 32, "out": 16, "fpn": 8, "fc": 12, "image_size": 64, **settings}
    return registry.load("method", "soco").resolve("tiny", small)


RULES = {"min_side": 32.0, "max_ratio": 3.0, "share": (0.3, 0.8)}
IMAGE = (0, 0, 640, 480)


def test_usable_boxes_by_hand() -> None:
    """640 x 480: sqrt(area) / 554.3 must lie in .3 .. .8, so sqrt(area) in 166.3 .. 443.4."""
    good, long, small, large, tiny = (
        [0, 0, 200, 200], [0, 0, 601, 200], [0, 0, 100, 120], [0, 0, 600, 470], [0, 0, 31, 200],
    )  # fmt: skip
    every = np.array([tiny, long, small, large, good], float)
    assert usable(every, IMAGE, **RULES).tolist() == [good]
    assert usable(every[:4], IMAGE, **RULES).tolist() == [small, large], "without the rule of size"
    assert usable(every[:2], IMAGE, **RULES).tolist() == [long], "nor that of aspect"
    assert usable(every[:1], IMAGE, **RULES).tolist() == [list(IMAGE)], "then the image"
    assert usable(every[:0], IMAGE, **RULES).tolist() == [list(IMAGE)]
    assert usable(every[2:3] / 4, (0, 0, 160, 120), **RULES).tolist() == [[0, 0, 25, 30]], "scales"


def test_boxes_are_cut_to_a_region_and_drawn_where_they_meet_a_crop() -> None:
    boxes = np.array([[10, 10, 60, 60], [0, 0, 20, 20], [90, 90, 99, 99], [20, 30, 30, 80]], float)
    cut = inside(boxes, (20, 20, 70, 70))
    assert cut.tolist() == [[20, 20, 60, 60], [20, 30, 30, 70]]
    rng = np.random.default_rng(0)
    assert draw(boxes, (60, 60, 90, 90), 4, rng).tolist() == [], "edges alone do not meet"
    for _ in range(20):
        found = draw(boxes, (15, 15, 40, 40), 2, rng)
        assert len(found) == len(np.unique(found, axis=0)) == 2
        assert {tuple(b) for b in found} <= {tuple(b) for b in boxes[[0, 1, 3]]}
    assert {tuple(b) for b in draw(boxes, (15, 15, 40, 40), 9, rng)} == {tuple(b) for b in boxes[[0, 1, 3]]}


def test_jitter_moves_by_at_most_a_tenth_and_half_of_the_boxes() -> None:
    box = np.tile([100.0, 200, 180, 260], (4000, 1))
    moved = jitter(box, IMAGE, 0.5, 0.1, np.random.default_rng(0))
    same = (moved == box).all(1)
    assert same.mean() == pytest.approx(0.5, abs=0.03)
    low = (moved[:, :2] - box[:, :2]) / [80, 60]
    sides = (moved[:, 2:] - moved[:, :2]) / [80, 60]
    assert np.abs(low).max() <= 0.1 + 1e-9
    assert np.abs(sides - 1).max() <= 0.1 + 1e-9
    assert np.abs(low[~same]).mean() == pytest.approx(0.05, abs=0.004)
    edge = jitter(np.tile([0.0, 0, 50, 50], (200, 1)), IMAGE, 1.0, 0.1, np.random.default_rng(1))
    assert edge.min() >= 0


def test_padding_repeats_boxes_and_their_ids() -> None:
    boxes = np.array([[1, 1, 2, 2], [3, 3, 4, 4]], float)
    padded, ids = pad(boxes, 5, np.random.default_rng(0))
    assert ids[:2].tolist() == [0, 1]
    assert (padded == boxes[ids]).all()
    assert len(ids) == 5


@dataclass
class Coloured(ImageSet):
    """Grey images with one pure red, one green and one blue rectangle, apart from one another."""

    folder: Path

    def __post_init__(self) -> None:
        self.name, self.split, self.classes = "coloured", "train", []
        self.ids = np.array([70, 30, 50])
        self.sizes = np.array([[192, 144], [128, 160], [150, 150]], np.int32)
        self.boxes = []
        for i, (width, height) in enumerate(self.sizes):
            image = np.full((height, width, 3), 128, np.uint8)
            cell, rng, boxes = width // 3, np.random.default_rng(i), []
            for at in range(3):
                x1 = at * cell + int(rng.integers(2, 6))
                y1 = int(rng.integers(5, height // 4))
                x2, y2 = (at + 1) * cell - int(rng.integers(2, 6)), y1 + height // 2
                image[y1:y2, x1:x2] = 0
                image[y1:y2, x1:x2, 2 - at] = 255  # OpenCV writes BGR: red, green, blue
                boxes.append([x1, y1, x2, y2])
            self.boxes.append(np.array(boxes, np.float32))
            cv2.imwrite(str(self.file(i)), image)

    def file(self, index: int) -> Path:
        return self.folder / f"{index}.png"

    def table(self) -> ProposalTable:
        """Proposals stored in another order than the images, so that they must be found by id."""
        order = np.argsort(self.ids)
        first = np.arange(0, 3 * len(order) + 1, 3)
        return ProposalTable(
            self.ids[order], first, np.concatenate([self.boxes[i] for i in order]), np.ones(9)
        )


@dataclass
class Plain:
    """The viewer without colour operations; its flips stay."""

    viewer: SocoViews

    def __call__(self, sources: list[Source], rng: np.random.Generator) -> Sample:
        sample = self.viewer(sources, rng)
        return Sample([replace(v, augment=NONE) for v in sample.views], sample.extra)


@dataclass
class Sources:
    boxes: tuple
    count: int = 3

    def __len__(self) -> int:
        return self.count

    def sources(self, index: int, rng: np.random.Generator) -> list[Source]:
        return [Source(index, b) for b in self.boxes]


def batches(folder: Path, boxes: tuple = (None, None), epochs: int = 12, **settings: object):  # type: ignore[no-untyped-def]
    images = Coloured(folder)
    method = soco(share=(0.05, 0.9), min_side=0, **settings)
    viewer = Plain(SocoViews(method.params, images.table(), images.ids, images.sizes))
    order = BatchOrder(3, 3, epochs, 0)
    for step, batch in enumerate(make_loader(images, Sources(boxes), viewer, 5, order, 0)):
        yield images, to_device(batch, "cpu", step, epochs)


def rgb(images: torch.Tensor) -> torch.Tensor:
    return images * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)


def coloured_box(image: torch.Tensor, colour: int) -> list[float]:
    """The rectangle of a colour, by its saturation above half; pixel edges."""
    other = image[[c for c in range(3) if c != colour]].max(0).values
    ys, xs = torch.nonzero(image[colour] - other > 0.5, as_tuple=True)
    return [int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1]


VIEW_OF = ("view1", "view2", "view1", "view3")


@pytest.mark.parametrize("boxes", [(None, None), ((10.0, 4.0, 120.0, 100.0),) * 2])
def test_boxes_follow_crop_resize_and_flip(tmp_path: Path, boxes: tuple) -> None:
    """Each box of each view lies on the rectangle of its colour, found again in the loaded pixels."""
    seen, flips = 0, set()
    for _, batch in batches(tmp_path, boxes, jitter_p=0.0):
        assert {r: v.images.shape[-1] for r, v in batch.views.items()} == {
            "view1": 64, "view2": 64, "view3": 32,
        }  # fmt: skip
        for row, role in enumerate(VIEW_OF):
            view = batch.views[role]
            flips |= {(role, bool(f)) for f in view.flipped}
            for n, picture in enumerate(rgb(view.images)):
                for box in batch.extra["boxes"][n, row]:
                    if float((box[2:] - box[:2]).min()) < 6:
                        continue
                    x, y = ((box[:2] + box[2:]) / 2).long().tolist()
                    colour = int(picture[:, y, x].argmax())
                    assert float(picture[colour, y, x]) > 0.9, "the box's middle is a rectangle's"
                    assert coloured_box(picture, colour) == pytest.approx(box.tolist(), abs=1.0)
                    seen += 1
    assert seen > 200
    assert len(flips) == 6, "every view is flipped at times and at times not"


def test_equal_ids_are_equal_colours_and_view3_may_show_view2s_crop(tmp_path: Path) -> None:
    for images, batch in batches(tmp_path, epochs=4, jitter_p=0.0, v3="downsampled"):
        assert torch.equal(batch.views["view2"].boxes, batch.views["view3"].boxes)
        sizes = torch.tensor(images.sizes)[batch.views["view1"].index]
        assert torch.equal(batch.views["view1"].boxes[:, 2:], sizes.float()), "the whole image"
        boxes, ids = batch.extra["boxes"], batch.extra["ids"]
        for n in range(3):
            colours: dict[int, set[int]] = {}
            for row, role in enumerate(VIEW_OF):
                picture = rgb(batch.views[role].images[n])
                for box, name in zip(boxes[n, row], ids[n, row], strict=True):
                    if float((box[2:] - box[:2]).min()) >= 6:
                        x, y = ((box[:2] + box[2:]) / 2).long().tolist()
                        colours.setdefault(int(name), set()).add(int(picture[:, y, x].argmax()))
            assert all(len(c) == 1 for c in colours.values()), "v3 downsampled: both pairs share their boxes"
    independent = [b.views for _, b in batches(tmp_path, epochs=4)]
    assert not any(torch.equal(v["view2"].boxes, v["view3"].boxes) for v in independent)


def test_without_common_boxes_the_whole_views_correspond(tmp_path: Path) -> None:
    """Paired crops whose boxes share no pixel."""
    for _, batch in batches(tmp_path, ((0, 0, 40, 60), (60, 70, 120, 140)), epochs=2):
        boxes = batch.extra["boxes"]
        assert torch.equal(boxes[:, :3], torch.tensor([0, 0, 64, 64.0]).expand(3, 3, 4, 4))
        assert torch.equal(boxes[:, 3], torch.tensor([0, 0, 32, 32.0]).expand(3, 4, 4))
        assert not batch.extra["ids"].any()
    images = Coloured(tmp_path)
    viewer = SocoViews(soco().params, images.table(), images.ids, images.sizes)
    sample = viewer([Source(0), Source(1)], np.random.default_rng(0))
    assert [v.image for v in sample.views] == [0, 1, 1]
    assert sample.extra["boxes"][0].tolist() == [[0, 0, 64, 64]] * 4


def test_correspondence_by_hand() -> None:
    ids1, ids2 = torch.tensor([[0, 1, 2, 0]]), torch.tensor([[0, 1, 2, 1]])
    levels1, levels2 = torch.tensor([[0, 1, 3, 0]]), torch.tensor([[0, 2, 3, 1]])
    same = correspondence(ids1, ids2, levels1, levels2, True)
    assert same[0].tolist() == [[1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0], [1, 0, 0, 0]]
    anyhow = correspondence(ids1, ids2, levels1, levels2, False)
    assert anyhow[0].tolist() == [[1, 0, 0, 0], [0, 1, 0, 1], [0, 0, 1, 0], [1, 0, 0, 0]]


def test_loss_against_a_loop() -> None:
    torch.manual_seed(0)
    p, z = torch.randn(3, 4, 8), torch.randn(3, 4, 8)
    corr = (torch.rand(3, 4, 4) < 0.3).float()
    corr[1] = 0
    a, b, total = p.double().numpy(), z.double().numpy(), 0.0
    for n in range(3):
        above = below = 0.0
        for i in range(4):
            for j in range(4):
                norms = math.sqrt(a[n, i] @ a[n, i]) * math.sqrt(b[n, j] @ b[n, j])
                above += float(corr[n, i, j]) * float(a[n, i] @ b[n, j]) / norms
                below += float(corr[n, i, j])
        total += above / (below + 1e-6)
    assert float(soco_loss(p, z, corr)) == pytest.approx(-2 * total / 3, abs=1e-5)
    diagonal = torch.eye(4).expand(3, 4, 4)
    assert float(soco_loss(p, 3 * p, diagonal)) == pytest.approx(-2, abs=1e-5), "its minimum"
    shuffle = [2, 0, 1]
    assert float(soco_loss(p[shuffle], z[shuffle], corr[shuffle])) == pytest.approx(-2 * total / 3, abs=1e-5)


def test_cutout_against_a_loop() -> None:
    torch.manual_seed(3)
    low = torch.rand(5, 4, 2) * 20
    boxes = torch.cat([low, low + 4 + torch.rand(5, 4, 2) * 20], -1)
    images = torch.ones(5, 3, 48, 48)
    torch.manual_seed(7)
    found = cutout(images, boxes, 0.5, (0.1, 0.3))
    torch.manual_seed(7)
    on, part, u, v = torch.rand(4, 5, 4).double()
    want, cut = images.clone(), 0
    for n in range(5):
        for k in range(4):
            x1, y1, x2, y2 = boxes[n, k].double().tolist()
            half = math.sqrt((0.1 + 0.2 * float(part[n, k])) * (x2 - x1) * (y2 - y1)) / 2
            cx, cy = x1 + float(u[n, k]) * (x2 - x1), y1 + float(v[n, k]) * (y2 - y1)
            if float(on[n, k]) >= 0.5:
                continue
            cut += 1
            for y in range(48):
                for x in range(48):
                    if abs(x + 0.5 - cx) < half and abs(y + 0.5 - cy) < half:
                        want[n, :, y, x] = 0
    assert torch.equal(found, want)
    assert 0 < cut < 20
    assert torch.equal(cutout(images, boxes, 0.0, (0.1, 0.3)), images)


def batch(size: int = 64, equal: bool = False) -> Batch:
    torch.manual_seed(0)
    sizes = {"view1": size, "view2": size, "view3": size // 2}
    objects = torch.tensor([True, False, True, False])
    views = {
        r: Views(torch.randn(4, 3, s, s), torch.zeros(4, 4), objects, torch.arange(4), objects)
        for r, s in sizes.items()
    }
    low = torch.rand(4, 4, 4, 2) * size / 3
    boxes = torch.cat([low, low + size / 4 + torch.rand(4, 4, 4, 2) * size / 3], -1)
    boxes[:, 3] /= 2
    return Batch(views, {"boxes": boxes, "ids": torch.randint(0, 3, (4, 4, 4))})


def test_network_loss_is_four_directions_with_features_computed_apart() -> None:
    torch.manual_seed(0)
    network = soco(cutout_p=0.0, levels="any").network(10)
    assert isinstance(network, SocoNetwork)
    network.eval()  # batch norm by running statistics: rows are independent of one another
    b = batch()
    boxes, ids = b.extra["boxes"], b.extra["ids"]

    def features(row: int, target: bool) -> torch.Tensor:
        view = b.views[VIEW_OF[row]]
        backbone = network.target_backbone if target else network.backbone
        branch = network.target_branch if target else network.branch
        maps = list(branch.fpn(stage_maps(backbone, view.images)).values())
        levels = level_of(boxes[:, row], 64, (48, 96, 192)).flatten()
        rois = pool_rois(
            maps, boxes[:, row].flatten(0, 1), torch.arange(16) // 4, levels, len(view.images[0, 0])
        )
        z = branch.projector(branch.head(rois))
        return (z if target else network.predictor(z)).view(4, 4, -1)

    want = 0.0
    for i, j in ((0, 1), (1, 0), (2, 3), (3, 2)):
        p, z = F.normalize(features(i, False), dim=-1), F.normalize(features(j, True), dim=-1)
        for n in range(4):
            pairs = [
                float((p[n, k] * z[n, m]).sum().detach()) for k in range(4) for m in range(4)
                if ids[n, i, k] == ids[n, j, m]
            ]  # fmt: skip
            want += -2 / 4 * (sum(pairs) / (len(pairs) + 1e-6))
    parts = network.loss(b)
    assert float(parts["loss"].detach()) == pytest.approx(want, abs=1e-4)
    assert float((parts["loss12"] + parts["loss13"]).detach()) == pytest.approx(want, abs=1e-4)


def test_batch_norm_sees_one_level_at_a_time() -> None:
    """Every box on every level; head and projector take the boxes of one level at a time."""
    torch.manual_seed(0)
    network = soco().network(10).train()
    assert isinstance(network, SocoNetwork)
    images, boxes = torch.randn(4, 3, 64, 64), batch().extra["boxes"][:, 0]
    seen: list[torch.Tensor] = []
    hook = network.branch.head.register_forward_hook(lambda module, given, out: seen.append(given[0]))
    found = network.branch(network.backbone, images, boxes, None)
    hook.remove()
    assert found.shape == (4, 4, 4, 16)
    maps = list(network.branch.fpn(stage_maps(network.backbone, images)).values())
    assert len(seen) == 4
    for level, given in enumerate(seen):
        want = roi_align(maps[level], list(boxes), 7, 1 / (4 << level), aligned=True)
        assert torch.allclose(given, want, atol=1e-4), "all boxes, on this level"
        alone = network.branch.projector(network.branch.head(want)).view(4, 4, -1)
        assert torch.allclose(found[level], alone, atol=1e-3)
    levels = torch.randint(0, 4, (4, 4))
    own = own_level(found, levels)
    for n in range(4):
        for k in range(4):
            assert torch.equal(own[n, k], found[levels[n, k], n, k])


@pytest.mark.parametrize("heads", [1, 2])
def test_gradients_are_online_only_and_every_parameter_has_one(heads: int) -> None:
    torch.manual_seed(0)
    network = soco().network(10, heads)
    before = {n: p.clone() for n, p in network.named_parameters()}
    parts = network.loss(batch())
    assert 0 < float(parts["matched12"]) <= 1
    parts["loss"].backward()
    assert all((p.grad is None) == n.startswith("target_") for n, p in network.named_parameters())
    with torch.no_grad():
        for p in network.parameters():
            p += 1
    network.after_step(0, 10)
    for name, p in network.named_parameters():
        if name.startswith("target_"):
            online = dict(network.named_parameters())[name.removeprefix("target_")]
            assert torch.allclose(p, 0.9 * (before[name] + 1) + 0.1 * online, atol=1e-6)


def test_cutout_hits_view2_and_only_if_asked_view3() -> None:
    b = batch()
    for where, changed in (("view2", ["view2"]), ("both", ["view2", "view3"])):
        network = soco(cutout_p=1.0, cutout_views=where).network(10)
        shown = network._views(b)  # type: ignore[attr-defined]
        assert [r for r, v in b.views.items() if not torch.equal(shown[r], v.images)] == changed


def test_embedding_is_the_whole_images_box() -> None:
    torch.manual_seed(0)
    network = soco().network(10).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        found = network.embed(images)
        assert found.shape == (2, 16)
        assert torch.allclose(network.embed(images[1:]), found[1:], atol=1e-5)


def test_settings_of_the_published_script_and_which_crops() -> None:
    method = registry.load("method", "soco").resolve("paper")
    p = method.params
    assert (p.optimizer, p.lr, p.weight_decay, p.decay_norm_and_bias) == ("lars", 1.0, 1e-5, False)
    assert (p.batch_size, p.epochs, p.warmup_epochs, p.ema0) == (2048, 100, 10.0, 0.99)
    assert (p.boxes, p.jitter_p, p.jitter, p.min_scale) == (4, 0.5, 0.1, 0.5)
    multi = type("Multi", (), {"style": "multi"})
    assert method.supports(Paired) is None
    assert "small" in str(method.supports(multi))
