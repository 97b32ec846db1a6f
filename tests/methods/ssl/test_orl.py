"""ORL: box rules, pair rules, neighbours, loss composition."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch.nn import functional as F
from torchvision.ops import box_iou
from torchvision.transforms import v2

from bench.contracts.network import Batch, Views
from bench.contracts.views import Source
from bench.core.ragged import Ragged
from bench.data.boxes import filter_boxes, scaled_side
from bench.nn.heads import KindHeads
from bench.nn.neighbours import nearest
from bench.stages.embed import centre_crop
from methods.ssl.orl.boxes import jitter_box, top_pairs
from methods.ssl.orl.correspondences import Correspondences
from methods.ssl.orl.network import OrlNetwork
from methods.ssl.orl.params import OrlParams
from methods.ssl.orl.views import OrlViews


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    return float(
        box_iou(torch.tensor([a], dtype=torch.float64), torch.tensor([b], dtype=torch.float64))
    )


def plain_filter(
    boxes: np.ndarray, least: float, ratio: float, max_iou: float, top: int
) -> list[list[float]]:
    """Paper 002's four rules, written as one reads them."""
    kept: list[list[float]] = []
    for box in boxes.tolist():
        w, h = box[2] - box[0], box[3] - box[1]
        if w < least or h < least or w / h > ratio or h / w > ratio:
            continue
        if any(overlap(tuple(box), tuple(k)) > max_iou for k in kept):
            continue
        kept.append(box)
    return kept[:top]


def random_boxes(seed: int, n: int, width: int = 640, height: int = 480) -> np.ndarray:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, [width, height], (n, 2, 2))
    boxes = np.concatenate([corners.min(1), corners.max(1)], 1).astype(np.float32)
    return boxes[((boxes[:, 2:] - boxes[:, :2]) > 1).all(1)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("top", [3, 100])
def test_filter_equals_the_plain_loop(seed: int, top: int) -> None:
    boxes = random_boxes(seed, 300)
    expected = plain_filter(boxes, 96, 3, 0.5, top)
    assert filter_boxes(boxes, 96, 3, 0.5, top, (640, 480)).tolist() == expected
    assert len(expected) >= 3


def test_filter_falls_back_to_the_first_box_then_to_the_image() -> None:
    small = np.array([[5, 5, 15, 15], [0, 0, 40, 40]], np.float32)
    assert filter_boxes(small, 96, 3, 0.5, 100, (640, 480)).tolist() == [[5, 5, 15, 15]]
    assert filter_boxes(small[:0], 96, 3, 0.5, 100, (640, 480)).tolist() == [[0, 0, 640, 480]]


def test_least_side_scales_with_the_image() -> None:
    assert scaled_side(96, 640, 480) == 96
    assert scaled_side(96, 144, 192) == pytest.approx(28.8)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    x=st.floats(0, 400),
    y=st.floats(0, 300),
    w=st.floats(8, 200),
    h=st.floats(8, 150),
)
def test_jitter_keeps_its_promises(seed: int, x: float, y: float, w: float, h: float) -> None:
    box, size = (x, y, x + w, y + h), (640, 480)
    new = jitter_box(box, size, np.random.default_rng(seed))
    assert new == jitter_box(box, size, np.random.default_rng(seed))
    if new == box:
        return
    nw, nh = new[2] - new[0], new[3] - new[1]
    assert new[0] >= 0 and new[1] >= 0 and new[2] <= 640 and new[3] <= 480  # noqa: PT018
    assert overlap(box, new) > 0.5 - 1e-9
    assert 0.5 - 1e-6 <= nw * nh / (w * h) <= 2 + 1e-6
    assert 0.5 - 1e-6 <= nw / nh <= 2 + 1e-6
    assert abs((new[0] + new[2]) / 2 - (x + w / 2)) <= w / 2 + 1e-6
    assert abs((new[1] + new[3]) / 2 - (y + h / 2)) <= h / 2 + 1e-6


def test_jitter_gives_up_to_the_identity_on_a_long_box() -> None:
    """A 6:1 box can overlap no box of absolute aspect up to 2 by more than half."""
    box = (10.0, 10.0, 310.0, 60.0)
    assert jitter_box(box, (640, 480), np.random.default_rng(0)) == box
    assert jitter_box(box, (640, 480), np.random.default_rng(0), aspect="relative") != box
    assert jitter_box(box, (640, 480), np.random.default_rng(0), iou_min=None) != box


def unit(rng: np.random.Generator, n: int) -> np.ndarray:
    rows = rng.normal(size=(n, 16))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize(("rule", "count"), [("rows10pct", 3), ("matrix10pct", 60)])
def test_top_pairs_are_the_largest_of_the_matrix(rule: str, count: int) -> None:
    rng = np.random.default_rng(0)
    a, b = unit(rng, 30), unit(rng, 20)
    every = sorted(
        ((float(a[i] @ b[j]), i, j) for i in range(30) for j in range(20)), reverse=True
    )
    found = top_pairs(a, b, 0.1, rule)
    assert {(i, j) for _, i, j in every[:count]} == {tuple(p) for p in found.tolist()}
    assert found[0].tolist() == list(every[0][1:])


def test_a_single_box_still_has_a_pair() -> None:
    rng = np.random.default_rng(0)
    assert top_pairs(unit(rng, 1), unit(rng, 4), 0.1, "rows10pct").shape == (1, 2)
    assert top_pairs(unit(rng, 1), unit(rng, 1), 0.1, "matrix10pct").tolist() == [[0, 0]]


def test_nearest_equals_brute_force_and_never_returns_itself() -> None:
    rows = np.random.default_rng(1).normal(size=(57, 12))
    found, similarity = nearest(torch.from_numpy(rows), 5, block=10)
    u = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    for i in range(57):
        best = sorted((j for j in range(57) if j != i), key=lambda j: -float(u[i] @ u[j]))[:5]
        assert found[i].tolist() == best
        assert similarity[i].numpy() == pytest.approx([float(u[i] @ u[j]) for j in best], abs=1e-5)


def test_an_exact_duplicate() -> None:
    rows = torch.eye(6)
    rows[3] = rows[1]
    found, _ = nearest(rows, 2)
    assert found[1, 0] == 3
    assert found[3, 0] == 1
    assert all(i not in found[i].tolist() for i in range(6))


TINY = OrlParams(backbone="resnet18", hidden=32, out=16, image_size=32, patch=32)


def batch(seed: int = 0) -> Batch:
    torch.manual_seed(seed)
    roles = ("view1", "view2", "ipatch1", "ipatch2", "kpatch1", "kpatch2")
    images = {r: torch.randn(4, 3, 32, 32) for r in roles}
    zero = torch.zeros(4)
    return Batch(
        {
            r: Views(x, torch.zeros(4, 4), zero > 0, zero.long(), zero > 0)
            for r, x in images.items()
        }
    )


def test_loss_is_the_sum_of_three_symmetric_byol_losses() -> None:
    torch.manual_seed(0)
    network = OrlNetwork(TINY).double().train()
    b = batch()
    views = {r: v.images.double() for r, v in b.views.items()}
    for v in b.views.values():
        v.images = v.images.double()
    parts = network.loss(b)
    expected = 0.0
    heads = (network.predictor_global, network.predictor_intra, network.predictor_inter)
    for head, (first, second) in zip(
        heads, (("view1", "view2"), ("ipatch1", "ipatch2"), ("kpatch1", "kpatch2")), strict=True
    ):
        for x, y in ((views[first], views[second]), (views[second], views[first])):
            p = F.normalize(head(network.projector(network.backbone(x))), dim=1)
            z = F.normalize(network.target_projector(network.target_backbone(y)), dim=1)
            expected += float(((p - z) ** 2).sum(1).mean())
    assert float(parts["loss"].detach()) == pytest.approx(expected, rel=1e-5)
    assert float(parts["loss"].detach()) == pytest.approx(
        sum(float(parts[n].detach()) for n in ("global", "intra", "inter"))
    )


def test_weights_scale_their_branch_and_gradients_stay_online() -> None:
    torch.manual_seed(0)
    network = OrlNetwork(TINY.model_copy(update={"lambda_intra": 0.0}))
    network.loss(batch())["loss"].backward()
    assert all(p.grad is None or not p.grad.any() for p in network.predictor_intra.parameters())
    assert all(p.grad is not None and p.grad.any() for p in network.predictor_inter.parameters())
    assert all(p.grad is None for p in network.target_backbone.parameters())
    assert all(p.grad is None for p in network.target_projector.parameters())


def found_table() -> Correspondences:
    """Two images: three and two boxes; each is the other's neighbour."""
    boxes = np.array(
        [[0, 0, 30, 30], [10, 10, 50, 50], [60, 0, 90, 40], [5, 5, 45, 45], [50, 50, 99, 79]]
    )
    return Correspondences(
        np.array([[1], [0]]),
        Ragged(boxes.astype(np.float32), np.array([0, 3, 5])),
        Ragged(np.array([[2, 0], [1, 1], [0, 2]]), np.array([0, 2, 3])),
    )


def test_views_come_from_the_right_images_and_boxes() -> None:
    viewer = OrlViews(TINY, found_table(), np.array([[100, 80], [100, 80]]))
    allowed = {((60, 0, 90, 40), (5, 5, 45, 45)), ((10, 10, 50, 50), (50, 50, 99, 79))}
    seen = set()
    for seed in range(40):
        sample = viewer([Source(0), Source(0)], np.random.default_rng(seed))
        views = {v.role: v for v in sample.views}
        assert [v.role for v in sample.views] == [
            "view1",
            "view2",
            "ipatch1",
            "ipatch2",
            "kpatch1",
            "kpatch2",
        ]
        assert views["kpatch1"].image == 0
        assert views["kpatch2"].image == 1
        assert views["view1"].scale == (0.08, 1.0)
        assert all(views[r].scale is None and views[r].size == 32 for r in list(views)[2:])
        assert views["ipatch1"].box in {(0, 0, 30, 30), (10, 10, 50, 50), (60, 0, 90, 40)}
        seen.add((views["kpatch1"].box, views["kpatch2"].box))
    assert seen == allowed


def test_the_crop_says_where_global_views_come_from() -> None:
    viewer = OrlViews(TINY, found_table(), np.array([[100, 80], [100, 80]]))
    tiny = Source(1, scale=(0.05, 0.14), size=24, role="small")
    sources = [Source(1, (1, 2, 30, 40), "object", (0.5, 1.0)), Source(1), tiny, tiny]
    views = {v.role: v for v in viewer(sources, np.random.default_rng(0)).views}
    first, second = views["view1"], views["view2"]
    assert (first.image, first.box, first.scale, first.kind) == (
        1,
        (1, 2, 30, 40),
        (0.5, 1.0),
        "object",
    )
    assert (second.image, second.box, second.scale, second.kind) == (1, None, (0.08, 1.0), "scene")
    assert [(views[f"small{i}"].size, views[f"small{i}"].scale) for i in (1, 2)] == [
        (24, (0.05, 0.14))
    ] * 2
    assert views["ipatch1"].box in {(5, 5, 45, 45), (50, 50, 99, 79)}, "RoIs of the sources' image"
    assert list(views)[2:6] == ["ipatch1", "ipatch2", "kpatch1", "kpatch2"]


def test_two_heads_and_small_views_reach_the_global_loss_only() -> None:
    torch.manual_seed(0)
    network = OrlNetwork(TINY, heads=2)
    given = batch()
    views = {
        n: replace(v, objects=torch.full_like(v.objects, n[0] in "ik"))
        for n, v in given.views.items()
    }
    parts = network.loss(Batch(views))
    assert isinstance(network.projector, KindHeads)
    parts["global"].backward()
    assert any(p.grad is not None and p.grad.any() for p in network.projector.other.parameters())
    assert not any(
        p.grad is not None and p.grad.any() for p in network.projector.object.parameters()
    )
    small = replace(
        views["view1"], images=torch.randn(len(given.views["view1"].images), 3, 32, 32)
    )
    more = network.loss(Batch({**views, "small1": small}))
    assert float(more["global"]) != float(parts["global"])


def test_a_jittered_box_has_the_papers_distribution() -> None:
    """Paper 002, section 3.1: area x U(.5, 2), aspect exp U(ln .5, ln 2), centre shifted by U(-.5,
    .5) of the sides. In the middle of a large image no draw is thrown away."""
    box, rng = (2000.0, 1000.0, 2080.0, 1050.0), np.random.default_rng(0)
    new = np.array([jitter_box(box, (4000, 2000), rng, iou_min=None) for _ in range(3000)])
    w, h = new[:, 2] - new[:, 0], new[:, 3] - new[:, 1]
    drawn = {
        "area": (w * h / 4000 - 0.5) / 1.5,
        "aspect": np.log2(w / h) / 2 + 0.5,
        "x": (new[:, [0, 2]].mean(1) - 2040) / 80 + 0.5,
        "y": (new[:, [1, 3]].mean(1) - 1025) / 50 + 0.5,
    }
    for name, values in drawn.items():
        assert stats.kstest(values, "uniform").pvalue > 1e-3, name
        assert values.min() < 0.01, name
        assert values.max() > 0.99, name


def test_a_relative_aspect_multiplies_the_boxs() -> None:
    box, rng = (2000.0, 1000.0, 2080.0, 1050.0), np.random.default_rng(0)
    new = np.array([jitter_box(box, (4000, 2000), rng, None, "relative") for _ in range(1000)])
    ratio = (new[:, 2] - new[:, 0]) / (new[:, 3] - new[:, 1]) / 1.6
    assert stats.kstest(np.log2(ratio) / 2 + 0.5, "uniform").pvalue > 1e-3


def test_neighbours_are_found_on_the_central_224_of_256_pixels() -> None:
    """Short side to 256, central 224 x 224: at that size the very pixels of the image."""
    image = np.random.default_rng(0).integers(0, 256, (256, 320, 3), dtype=np.uint8)
    assert np.array_equal(centre_crop(image, 224).permute(1, 2, 0), image[16:240, 48:272])
    high = np.random.default_rng(1).integers(0, 256, (96, 64, 3), dtype=np.uint8)
    assert np.array_equal(centre_crop(high, 56).permute(1, 2, 0), high[20:76, 4:60])
    # at any other size what torchvision makes of it, but for what a second rounding moves
    smooth = cv2.resize(image[:40, :50], (500, 400), interpolation=cv2.INTER_CUBIC)
    steps = v2.Compose([v2.Resize(128, antialias=True), v2.CenterCrop(112)])
    theirs = steps(torch.from_numpy(smooth).permute(2, 0, 1)).int()
    assert (centre_crop(smooth, 112).int() - theirs).abs().float().mean() < 2


def test_a_jittered_box_may_touch_every_border_and_crosses_none() -> None:
    """An image as small as the box leaves no room beside it; still every side is reached."""
    rng, size = np.random.default_rng(0), (40, 40)
    new = np.array([jitter_box((2.0, 2.0, 38.0, 38.0), size, rng) for _ in range(800)])
    assert new.min() >= 0
    assert new.max() <= 40
    assert (new[:, :2].min(0) < 0.9).all()
    assert (new[:, 2:].max(0) > 39.1).all()
