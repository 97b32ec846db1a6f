"""CCOP: boxes that follow their views, the noise curriculum, three losses against plain loops."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torchvision.ops import box_iou, roi_align

from bench.contracts.images import ImageSet
from bench.contracts.network import Batch, Views
from bench.contracts.views import Source
from bench.core.errors import BadInput
from bench.core.ragged import Ragged
from bench.nn.contrastive import info_nce
from bench.views.augment import MEAN, STD
from bench.views.loader import BatchOrder, make_loader, to_device
from bench.views.sample import NONE
from methods.ssl.ccop import Ccop
from methods.ssl.ccop.losses import hardest, intra_loss
from methods.ssl.ccop.network import CcopNetwork, RowDropout
from methods.ssl.ccop.noise import candidates, curriculum, iou, move_boxes
from methods.ssl.ccop.params import CcopParams
from methods.ssl.ccop.stages import find_rois, select_rois
from methods.ssl.ccop.views import CcopViews, load_rois, visible_share


class Marked(ImageSet):
    """Dark images of different sizes, each with one bright rectangle at its own place."""

    def __init__(self, folder: Path, n: int = 12) -> None:
        self.folder, self.name, self.split, self.classes = folder, "marked", "train", []
        rng = np.random.default_rng(1)
        self.ids = np.arange(n, dtype=np.int64)[::-1] * 7 + 100
        self.sizes = rng.integers(120, 200, (n, 2)).astype(np.int32)
        low = (rng.random((n, 2)) * (self.sizes - 60)).astype(int)
        self.boxes = np.concatenate([low, low + rng.integers(25, 60, (n, 2))], 1).astype(
            np.float32
        )
        for i, (width, height) in enumerate(self.sizes):
            image = rng.integers(0, 40, (height, width, 3), dtype=np.uint8)
            x1, y1, x2, y2 = self.boxes[i].astype(int)
            image[y1:y2, x1:x2] = 250
            cv2.imwrite(str(self.file(i)), image)

    def file(self, index: int) -> Path:
        return self.folder / f"{index}.png"

    def rois(self) -> Ragged:
        return Ragged(self.boxes, np.arange(len(self) + 1))


class Sampler:
    """Samples from the whole image, from two pseudo images' boxes, or both sources of an index."""

    def __init__(self, sources: list[tuple[Source, Source]]) -> None:
        self.pairs = sources

    def __len__(self) -> int:
        return len(self.pairs)

    def sources(self, index: int, rng: np.random.Generator) -> list[Source]:
        return list(self.pairs[index])


def viewer(table: Ragged, sizes: np.ndarray, size: int = 96, **settings: Any) -> CcopViews:
    return CcopViews(table, sizes, size, (0.2, 1.0), NONE, top=5, **settings)


@pytest.mark.parametrize("inside", ["image", "box"])
def test_boxes_follow_crop_resize_and_flip(tmp_path: Path, inside: str) -> None:
    """A bright rectangle is found again in both views, where `boxes` says, within a pixel."""
    images = Marked(tmp_path)
    box = {"image": None, "box": (3.0, 2.0, 110.0, 115.0)}[inside]
    sampler = Sampler([(Source(i, box), Source(i, box)) for i in range(len(images))])
    order = BatchOrder(len(images), 4, 4, seed=0)
    seen, flips = 0, set()
    for raw in make_loader(images, sampler, viewer(images.rois(), images.sizes), 5, order, 0):
        batch = to_device(raw, "cpu", 0, 1)
        for at, role in enumerate(("view1", "view2")):
            view = batch.views[role]
            pixels = view.images * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(
                3, 1, 1
            )
            for row in range(len(pixels)):
                if not batch.extra["box_count"][row]:
                    continue
                y, x = (pixels[row].mean(0) > 0.57).nonzero().T
                found = [int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1]
                assert found == pytest.approx(batch.extra["boxes"][row, at, 0].tolist(), abs=1.0)
                seen += 1
                flips.add(bool(view.flipped[row]))
    assert seen > 30
    assert flips == {True, False}


def crowd(seed: int = 0, n: int = 30) -> tuple[Ragged, np.ndarray]:
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, [500, 350], (n, 2))
    boxes = np.concatenate([low, low + rng.uniform(15, 140, (n, 2))], 1)
    inside = np.minimum(boxes, [640, 480, 640, 480]).astype(np.float32)
    return Ragged(inside, np.array([0, n])), np.array([[640, 480]])


def test_common_boxes_are_those_the_rule_keeps() -> None:
    """More than .6 of a box and more than 144 pixels of 224 x 224 in both views, written as one
    reads it."""
    table, sizes = crowd()
    counts = []
    for seed in range(40):
        sample = replace(viewer(table, sizes, 112), top=30)(
            [Source(0)] * 2, np.random.default_rng(seed)
        )
        expected: list[list[list[float]]] = []
        for x1, y1, x2, y2 in table[0].astype(float).tolist():
            found = []
            for view in sample.views:
                assert view.scale is None
                a, b, c, d = view.box  # type: ignore[misc]
                u1, v1, u2, v2 = max(x1, a), max(y1, b), min(x2, c), min(y2, d)
                inside = max(u2 - u1, 0) * max(v2 - v1, 0)
                fx, fy = 112 / (c - a), 112 / (d - b)
                if inside > 0.6 * (x2 - x1) * (y2 - y1) and inside * fx * fy > 144 / 4:
                    left, right = (u1 - a) * fx, (u2 - a) * fx
                    left, right = (112 - right, 112 - left) if view.flip else (left, right)
                    found.append([left, (v1 - b) * fy, right, (v2 - b) * fy])
            if len(found) == 2:
                expected.append(found)
        count = int(sample.extra["box_count"])
        assert count == len(expected)
        assert sample.extra["boxes"][:, :count].transpose(1, 0, 2).tolist() == [
            [pytest.approx(b, abs=1e-3) for b in pair] for pair in expected
        ]
        assert not sample.extra["boxes"][:, count:].any()
        counts.append(count)
    assert min(counts) < 5 < max(counts)


def test_crops_are_drawn_again_until_a_box_shows() -> None:
    corner = Ragged(np.array([[540, 380, 580, 420]], np.float32), np.array([0, 1]))

    def share(tries: int) -> float:
        make = viewer(corner, np.array([[640, 480]]), tries=tries)
        shown = [make([Source(0)] * 2, np.random.default_rng(s)).views for s in range(150)]
        return float(
            np.mean(
                [(visible_share(corner[0], v.box) > 0.6).any() for pair in shown for v in pair]
            )
        )  # type: ignore[arg-type]

    once = share(1)
    assert 0.1 < once < 0.5
    assert share(10) == pytest.approx(1 - (1 - once) ** 10, abs=0.05)


def test_samples_without_common_boxes_are_whole() -> None:
    table, sizes = crowd()
    far = [Source(0, (0, 0, 60, 60), "object"), Source(0, (500, 400, 640, 480))]
    empty = Ragged(np.zeros((0, 4), np.float32), np.array([0, 0]))
    for make, sources in ((viewer(table, sizes), far), (viewer(empty, sizes), [Source(0)] * 2)):
        orders = set()
        for seed in range(20):
            sample = make(sources, np.random.default_rng(seed))
            assert sample.extra["box_count"] == 0
            assert sample.extra["boxes"].shape == (2, 5, 4)
            assert [v.role for v in sample.views] == ["view1", "view2"]
            orders.add(tuple(v.kind for v in sample.views))
        kinds = {s.kind for s in sources}
        assert len(orders) == (2 if len(kinds) == 2 else 1), "which source is the query is drawn"


def test_small_views_of_multi_crop() -> None:
    table, sizes = crowd()
    small = Source(0, scale=(0.05, 0.2), size=32, role="small")
    sample = viewer(table, sizes)([Source(0), Source(0), small, small], np.random.default_rng(0))
    assert [(v.role, v.size) for v in sample.views] == [
        ("view1", 96),
        ("view2", 96),
        ("small1", 32),
        ("small2", 32),
    ]
    assert sample.views[2].scale == (0.05, 0.2)


@pytest.mark.parametrize("top", [4, 50])
def test_roi_rules_equal_the_plain_loop(top: int) -> None:
    rng = np.random.default_rng(3)
    corners = rng.uniform(0, [640, 480], (600, 2, 2))
    boxes = np.concatenate([corners.min(1), corners.max(1)], 1).astype(np.float32)
    boxes[::3, 2:] = boxes[::3, :2] + rng.uniform(5, 60, (200, 2))
    order = rng.permutation(len(boxes))
    kept: list[list[float]] = []
    for box in boxes[order].tolist():
        w, h = box[2] - box[0], box[3] - box[1]
        fits = h > 0 and 1 / 3 < w / h < 3 and math.sqrt(w * h) > 20
        if fits and all(float(box_iou(*map(torch.tensor, ([box], [k])))) <= 0.5 for k in kept):
            kept.append(box)
            if len(kept) == top:
                break
    assert select_rois(boxes, 20, 3, 0.5, top, order).tolist() == kept
    assert len(kept) >= 4
    assert select_rois(boxes[:0], 20, 3, 0.5, top, order[:0]).shape == (0, 4)


def test_rois_go_by_image_id(tmp_path: Path) -> None:
    """Proposals stored in another order than the set's still reach their own image (quirk 11)."""
    images = Marked(tmp_path)
    order = np.random.default_rng(0).permutation(len(images))
    np.savez(
        tmp_path / "proposals.npz",
        image_ids=images.ids[order],
        first=np.arange(len(images) + 1),
        boxes=images.boxes[order],
        scores=np.ones(len(images), np.float32),
    )
    work = tmp_path / "work"
    work.mkdir()
    ctx: Any = SimpleNamespace(
        images=lambda role, split: images,
        work=work,
        inputs={"proposals": tmp_path},
        params={
            "split": "train",
            "min_sqrt_area": 20.0,
            "pixels": "scaled",
            "max_ratio": 3.0,
            "nms": 0.5,
            "top": 50,
        },
        progress=SimpleNamespace(task=lambda label, total: lambda n: None),
    )
    find_rois(ctx)
    table = load_rois(work, images)
    assert [table[i].tolist() for i in range(len(images))] == images.boxes[:, None].tolist()
    images.ids = images.ids[::-1].copy()
    with pytest.raises(BadInput, match="other images"):
        load_rois(work, images)


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def boxes_of(*shape: int, seed: int = 0, size: float = 64) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    low = torch.rand(*shape, 2, generator=rng) * size * 0.7
    return torch.cat([low, low + 2 + torch.rand(*shape, 2, generator=rng) * size * 0.28], -1)


def test_the_curriculum_starts_and_ends_where_paper_and_code_say() -> None:
    """Section 3.3: bound .8 to .3, zeta .3 to 1. Code: .8 to .4, full widths .15 to .6 and .35 to
    1.4."""
    numbers = {
        (s, at): (n.bound, 2 * n.shift, 2 * n.log_size, n.corner)
        for s in ("paper", "code")
        for at in (0.0, 0.5, 1.0)
        for n in [curriculum(at, s)]
    }
    assert numbers["code", 0.0] == pytest.approx((0.8, 0.15, 0.35, False))
    assert numbers["code", 0.5] == pytest.approx((0.6, 0.375, 0.875, False))
    assert numbers["code", 1.0] == pytest.approx((0.4, 0.6, 1.4, False))
    assert numbers["paper", 0.0] == pytest.approx((0.8, 0.6, 0.6, True))
    assert numbers["paper", 0.5] == pytest.approx((0.55, 1.3, 1.3, True))
    assert numbers["paper", 1.0] == pytest.approx((0.3, 2.0, 2.0, True))


@pytest.mark.parametrize("schedule", ["paper", "code"])
def test_a_fixed_bound_does_not_move(schedule: str) -> None:
    for beta in (0.6, 0.3):
        early, late = (curriculum(at, schedule, beta) for at in (0.0, 0.9))
        assert early == late
        assert early.bound == beta
    boxes = boxes_of(50)
    none = curriculum(0.5, schedule, 1.0)
    moved, allowed = candidates(boxes, none, torch.rand(50, 6, 4) * 2 - 1, 64)
    assert allowed.sum(1).tolist() == [1] * 50
    assert torch.equal(moved[allowed], boxes)


@pytest.mark.parametrize("schedule", ["paper", "code"])
def test_moved_boxes_follow_equation_7(schedule: str) -> None:
    boxes, noise = boxes_of(20).double(), curriculum(0.7, schedule)
    draws = torch.rand(20, 3, 4, dtype=torch.float64) * 2 - 1
    moved = move_boxes(boxes, noise, draws, 64)
    clipped = 0
    for i in range(20):
        x, y, x2, y2 = boxes[i].tolist()
        w, h = x2 - x, y2 - y
        for j in range(3):
            sx, sy = (noise.shift * d for d in draws[i, j, :2].tolist())
            new_w, new_h = (
                s * math.exp(noise.log_size * d)
                for s, d in zip((w, h), draws[i, j, 2:].tolist(), strict=True)
            )
            if schedule == "paper":
                left, top = x + sx * w, y + sy * h
            else:
                left, top = x + w / 2 + sx * w - new_w / 2, y + h / 2 + sy * h - new_h / 2
            exact = [left, top, left + new_w, top + new_h]
            expected = [min(max(v, 0.0), 64.0) for v in exact]
            clipped += exact != expected
            assert moved[i, j].tolist() == pytest.approx(expected)
    assert clipped > 0


@pytest.mark.parametrize("schedule", ["paper", "code"])
@pytest.mark.parametrize("progress", [0.0, 0.4, 1.0])
def test_allowed_boxes_respect_the_bound(schedule: str, progress: float) -> None:
    boxes, noise = boxes_of(60), curriculum(progress, schedule)
    found, allowed = candidates(boxes, noise, torch.rand(60, 10, 4) * 2 - 1, 64)
    assert torch.equal(found[:, -1], boxes)
    assert allowed.any(1).all()
    moved = 0
    for box, row, ok in zip(boxes, found, allowed, strict=True):
        overlap = box_iou(box[None], row)[0]
        assert (overlap[ok] >= noise.bound - 1e-5).all()
        assert (overlap[:-1][~ok[:-1]] < noise.bound + 1e-5).all()
        moved += int(ok[:-1].sum())
        assert bool(ok[-1]) == (schedule == "code" or not ok[:-1].any())
    assert 0 < moved < 600
    assert (found >= 0).all()
    assert (found <= 64).all()


def test_iou_equals_torchvisions() -> None:
    a, b = boxes_of(9, seed=1), boxes_of(11, seed=2)
    assert torch.allclose(iou(a[:, None], b[None]), box_iou(a, b), atol=1e-6)
    assert iou(torch.zeros(4), torch.zeros(4)) == 0


def test_the_hardest_allowed_key_is_chosen() -> None:
    q, keys = unit(40, 8, seed=1), unit(40, 6, 8, seed=2)
    allowed = torch.rand(40, 6) < 0.5
    allowed[:, -1] = True
    found = hardest(q, keys, allowed)
    overall = 0
    for i in range(40):
        scores = {j: float(q[i].double() @ keys[i, j].double()) for j in range(6) if allowed[i, j]}
        best = min(scores, key=lambda j: scores[j])
        assert torch.equal(found[i], keys[i, best])
        overall += best == int((keys[i] @ q[i]).argmin())
    assert overall < 40, "somewhere a harder key was not allowed"


@pytest.mark.parametrize("kind", ["hinge_paper", "triplet_code"])
@pytest.mark.parametrize("alpha", [0.0, 0.4])
def test_intra_loss_equals_the_plain_loop(kind: str, alpha: float) -> None:
    q, k = unit(3, 6, 4, seed=1), unit(3, 6, 4, seed=2)
    first, second = (boxes_of(3, 6, seed=seed) * torch.tensor([0.4, 0.4, 1, 1]) for seed in (3, 4))
    counts = [6, 1, 4]
    real = torch.arange(6) < torch.tensor(counts)[:, None]
    terms = []
    for image, n in enumerate(counts):
        place = (first if kind == "hinge_paper" else second)[image]
        for i in range(n):
            for j in range(n):
                if i == j or float(box_iou(place[i : i + 1], place[j : j + 1])) >= 0.05:
                    continue
                qi, qj, kj = (t[image][at].double() for t, at in ((q, i), (q, j), (k, j)))
                value = (
                    float(qi @ qj) - alpha
                    if kind == "hinge_paper"
                    else float(qi @ kj - qj @ kj) + alpha
                )
                terms.append(max(value, 0.0))
    assert 10 < len(terms) < 42
    assert any(terms)
    found = intra_loss(kind, alpha, q, k, (first, second), real)
    assert float(found) == pytest.approx(sum(terms) / len(terms), rel=1e-5)


@pytest.mark.parametrize("kind", ["hinge_paper", "triplet_code"])
def test_objects_far_apart_in_feature_space_cost_nothing(kind: str) -> None:
    z = torch.eye(4)[None]
    z[0, 2] = -z[0, 1]
    boxes = torch.tensor([[[16.0 * i, 0, 16.0 * i + 10, 10] for i in range(4)]])
    real = torch.ones(1, 4, dtype=torch.bool)
    assert float(intra_loss(kind, 0.4, z, z, (boxes, boxes), real)) == 0
    equal = z[:, :1].expand(1, 4, 4)
    expected = 0.6 if kind == "hinge_paper" else 0.4
    assert float(intra_loss(kind, 0.4, equal, equal, (boxes, boxes), real)) == pytest.approx(
        expected
    )


@pytest.mark.parametrize("kind", ["hinge_paper", "triplet_code"])
@pytest.mark.parametrize("count", [0, 1, 2])
def test_no_pair_is_zero_not_nan(kind: str, count: int) -> None:
    q = unit(2, 3, 4).requires_grad_()
    boxes = torch.tensor([10.0, 10, 40, 40]).expand(2, 3, 4)  # two equal boxes are no pair either
    real = (torch.arange(3) < count).expand(2, 3)
    loss = intra_loss(kind, 0.4, q, unit(2, 3, 4, seed=1), (boxes, boxes), real)
    assert float(loss.detach()) == 0
    loss.backward()
    assert q.grad is not None
    assert not q.grad.any()


SMALL: dict[str, Any] = {
    "backbone": "resnet18",
    "image_size": 64,
    "batch_size": 4,
    "hidden": 16,
    "out": 8,
    "fpn_width": 8,
    "jitters": 3,
    "top": 6,
    "queue": 32,
}


def network(heads: int = 1, **settings: Any) -> CcopNetwork:
    torch.manual_seed(0)
    net = CcopNetwork(CcopParams(**{**SMALL, **settings}), 40, heads).train()
    # N(0, .01) heads say nearly the same of everything; livelier ones test more
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(3 if p.ndim == 2 else 1)
        for name in ("projector", "roi_head"):
            getattr(net, f"key_{name}").load_state_dict(getattr(net, name).state_dict())
    return net


def batch(counts: tuple[int, ...] = (6, 0, 3, 1), small: int = 0, seed: int = 0) -> Batch:
    rng = torch.Generator().manual_seed(seed)
    zero, n = torch.zeros(len(counts)), len(counts)
    roles = ["view1", "view2", *(f"small{i + 1}" for i in range(small))]
    objects = torch.arange(n) % 2 == 0
    views = {
        r: Views(
            torch.randn(
                n, 3, 32 if "small" in r else 64, 32 if "small" in r else 64, generator=rng
            ),
            torch.zeros(n, 4),
            zero > 0,
            torch.arange(n),
            objects,
        )
        for r in roles
    }
    boxes = (
        boxes_of(n, 2, 6, seed=seed)
        * (torch.arange(6) < torch.tensor(counts)[:, None, None])[..., None]
    )
    return Batch(views, {"boxes": boxes, "box_count": torch.tensor(counts)}, 5, 10)


def loop_losses(net: CcopNetwork, b: Batch, draws: torch.Tensor) -> dict[str, float]:
    """The three losses box by box, from the network's modules; statistics of the whole batch."""
    from bench.nn.fpn import stage_maps

    found: dict[str, Any] = {}
    for prefix, role in (("", "view1"), ("key_", "view2")):
        maps = stage_maps(getattr(net, prefix + "backbone"), b.views[role].images)
        levels = list(getattr(net, prefix + "fpn")(maps).values())
        head = getattr(net, prefix + "roi_head")
        found[prefix + "image"] = F.normalize(
            getattr(net, prefix + "projector")(maps["c5"].mean((2, 3)))
        )

        def embed(
            box: torch.Tensor, row: int, levels: Any = levels, head: Any = head
        ) -> torch.Tensor:
            side = math.sqrt(float((box[2] - box[0]) * (box[3] - box[1]))) * 224 / 64
            at = 0 if side <= 48 else 1 if side <= 96 else 2 if side <= 192 else 3
            roi = roi_align(levels[at][row : row + 1], [box[None]], 7, 0.25 / 2**at, aligned=True)
            return F.normalize(head(roi.flatten(1)))[0]

        found[prefix + "embed"] = embed
    noise = curriculum(0.5, net.p.sncl)
    moved, allowed = candidates(b.extra["boxes"][:, 1][_real(b)], noise, draws, 64)
    losses, keys, n = [], [], 0
    for row, count in enumerate(b.extra["box_count"].tolist()):
        for i in range(count):
            q = found["embed"](b.extra["boxes"][row, 0, i], row)
            choice = [
                found["key_embed"](c, row)
                for c, ok in zip(moved[n], allowed[n], strict=True)
                if ok
            ]
            keys.append(min(choice, key=lambda k, q=q: float(k @ q)))  # type: ignore[misc]
            losses.append(info_nce(q[None], keys[-1][None], net.roi_queue.keys, net.p.tau))
            n += 1
    image = info_nce(found["image"], found["key_image"], net.image_queue.keys, net.p.tau)
    return {
        "image": float(image.detach()),
        "roi": float(torch.stack(losses).mean().detach()),
        "keys": torch.stack(keys).detach(),
        "image_keys": found["key_image"].detach(),
    }


def _real(b: Batch) -> torch.Tensor:
    return torch.arange(6) < b.extra["box_count"][:, None]


@pytest.mark.parametrize("sncl", ["code", "paper"])
def test_losses_of_the_network_equal_a_loop_over_boxes(sncl: str) -> None:
    net, b = (
        network(bn_groups=1, sncl=sncl, lambda_roi=2.0, lambda_intra=0.5, queue_overflow="wrap"),
        batch(),
    )
    with torch.no_grad():
        torch.manual_seed(9)
        torch.randperm(4)  # the order of the keys comes first
        expected: Any = loop_losses(net, b, torch.rand(10, 3, 4) * 2 - 1)
    torch.manual_seed(9)
    parts = {k: v.detach() for k, v in net.loss(b).items()}
    assert float(parts["image"]) == pytest.approx(expected["image"], rel=1e-4)
    assert float(parts["roi"]) == pytest.approx(expected["roi"], rel=1e-4)
    assert float(parts["intra"]) > 0
    assert float(parts["loss"]) == pytest.approx(
        float(parts["image"] + 2 * parts["roi"] + 0.5 * parts["intra"])
    )
    assert float(parts["boxes"]) == 2.5
    assert torch.allclose(net.roi_queue.keys[:10], expected["keys"], atol=1e-4)
    assert torch.allclose(net.image_queue.keys[:4], expected["image_keys"], atol=1e-4)


def test_a_batch_without_boxes_has_the_image_loss_alone() -> None:
    net = network()
    before = net.roi_queue.keys.clone()
    parts = net.loss(batch((0, 0, 0, 0)))
    assert float(parts["roi"].detach()) == float(parts["intra"].detach()) == 0
    parts["loss"].backward()
    for name, p in net.named_parameters():
        assert (p.grad is None) == name.startswith("key_"), name
        assert p.grad is None or torch.isfinite(p.grad).all()
    assert not any(p.grad.any() for p in net.roi_head.parameters() if p.grad is not None)
    assert torch.equal(net.roi_queue.keys, before)


@pytest.mark.parametrize("intra", ["hinge_paper", "triplet_code"])
def test_gradients_reach_the_query_network_only(intra: str) -> None:
    net = network(intra=intra, dropout=0.1, heads=2)
    net.loss(batch(small=1))["loss"].backward()
    for name, p in net.named_parameters():
        if name.startswith("key_"):
            assert p.grad is None
            assert not p.requires_grad
        else:
            assert p.grad is not None, name
            assert torch.isfinite(p.grad).all()
    for part in (net.backbone, net.fpn, net.projector, net.roi_head):
        assert any(p.grad is not None and p.grad.any() for p in part.parameters())


def test_small_views_are_further_queries_against_the_key_of_view_2() -> None:
    net, b = network(bn_groups=1).eval(), batch(small=2)
    with torch.no_grad():
        key = F.normalize(net.key_projector(net.key_backbone(b.views["view2"].images)))
        terms = [
            info_nce(F.normalize(net.embed(b.views[r].images)), key, net.image_queue.keys, 0.2)
            for r in ("view1", "small1", "small2")
        ]
        found = net.loss(b)["image"]
    assert float(found) == pytest.approx(float(torch.stack(terms).mean()), rel=1e-5)


def test_each_kind_of_view_has_its_image_head() -> None:
    net, b = network(heads=2, bn_groups=1).eval(), batch()
    with torch.no_grad():
        before = net.loss(b)["image"]
        net.image_queue.keys.copy_(network().image_queue.keys)
        first = float(net.loss(b)["image"])
        b.views["view1"].objects = ~b.views["view1"].objects
        assert float(net.loss(b)["image"]) != pytest.approx(first, abs=1e-4)
    assert torch.isfinite(before)


def test_groups_have_statistics_of_their_own_and_rows_keep_their_place() -> None:
    net, b = network(bn_groups=2), batch()
    view, other = b.views["view1"], batch(seed=1).views["view1"]
    other.images[:2] = view.images[:2]
    with torch.no_grad():
        one, two = net.query(view.images), net.query(other.images)
        for mine, theirs in zip(one, two, strict=True):  # the image's vector and P2 to P5
            assert torch.equal(mine[:2], theirs[:2])
            assert not torch.allclose(mine[2:], theirs[2:])
        torch.manual_seed(0)
        order = torch.randperm(4)
        torch.manual_seed(0)
        keys = net.key(view.images, view.objects)
        for at, mine in enumerate(keys):
            expected = torch.zeros_like(mine)
            for part in order.split(2):
                expected[part] = net.query(view.images[part])[at]
            assert torch.allclose(mine, expected, atol=1e-4)


def test_the_order_of_a_batch_does_not_matter() -> None:
    order = torch.tensor([2, 0, 3, 1])
    b = batch()
    shuffled = Batch(
        {
            r: Views(*(getattr(v, f)[order] for f in Views.__dataclass_fields__))
            for r, v in b.views.items()
        },
        {k: v[order] for k, v in b.extra.items()},
        5,
        10,
    )
    losses = [network(bn_groups=1, fixed_beta=1.0).loss(x)["loss"].detach() for x in (b, shuffled)]
    assert float(losses[0]) == pytest.approx(float(losses[1]), rel=1e-5)


def test_the_key_network_follows_and_the_state_is_complete() -> None:
    """The next loss first makes every key parameter m k + (1 - m) q; a copy by state dict goes on
    alike."""
    net, b = network(ema=0.9), batch()
    net.loss(b)["loss"].backward()
    with torch.no_grad():
        for p in net.backbone.parameters():
            p.add_(p.grad, alpha=-0.1)
    before = {n: p.detach().clone() for n, p in net.named_parameters()}
    net.loss(b)
    for name, p in net.named_parameters():
        if name.startswith("key_"):
            expected = 0.9 * before[name] + 0.1 * before[name.removeprefix("key_")]
            assert torch.allclose(p, expected, atol=1e-6)
    other = network(ema=0.9)
    other.load_state_dict(net.state_dict())
    losses = []
    for one in (net, other):
        torch.manual_seed(3)
        losses.append(one.loss(batch(seed=4))["loss"].detach())
    assert torch.equal(*losses)
    assert torch.equal(net.roi_queue.keys, other.roi_queue.keys)


def test_paper_settings() -> None:
    """Section 4.1: ResNet-50, 800 epochs, batch 256, SGD .3, 65,536 keys, heads 2048 to 128, alpha
    .4."""
    p = CcopParams()
    assert (p.backbone, p.image_size, p.epochs, p.batch_size, p.lr) == (
        "resnet50",
        224,
        800,
        256,
        0.3,
    )
    assert (p.optimizer, p.weight_decay, p.momentum, p.warmup_epochs) == ("sgd", 1e-4, 0.9, 0.0)
    assert (p.hidden, p.out, p.queue, p.alpha, p.tau, p.ema) == (2048, 128, 65536, 0.4, 0.2, 0.999)
    assert (p.fpn_width, p.jitters, p.top, p.bn_groups) == (256, 10, 50, 8)


def test_the_pictures_show_both_views_and_the_noise(tmp_path: Path) -> None:
    images = Marked(tmp_path)
    table = images.rois()
    np.savez(tmp_path / "rois.npz", ids=images.ids, first=table.first, boxes=table.values)
    method = Ccop(CcopParams(**SMALL))
    picture: Any = method.inspect(images, {"rois": tmp_path})["rois"]
    assert picture.dtype == np.uint8
    assert picture.shape == (8 * 66, 4 * 66, 3)
    drawn = (np.ptp(picture.astype(int), axis=2) > 120).reshape(8, 66, 4, 66).any((1, 3))
    assert drawn.any(0).tolist() == [True] * 4


def test_a_boxs_embedding_is_its_rois_in_a_view_of_that_size() -> None:
    torch.manual_seed(0)
    net = CcopNetwork(CcopParams(**Ccop.scales["tiny"]), 64).eval()
    images = torch.randn(1, 3, 64, 64)
    boxes = torch.tensor([[0.0, 0.0, 12.0, 12.0], [5.0, 6.0, 40.0, 30.0], [0.0, 0.0, 64.0, 64.0]])
    with torch.no_grad():
        found = net.embed_boxes(images, boxes)
        expected = net._rois(
            net.query(images), boxes, torch.zeros(3, dtype=torch.long), 64, net.roi_head
        )
        wide = net.embed_boxes(torch.cat([images, images.flip(3)], 3), boxes)
    assert torch.allclose(found, expected, atol=1e-6)
    assert wide.shape == found.shape
    assert wide.norm(dim=1) == pytest.approx(torch.ones(3))


@pytest.mark.parametrize("kind", ["hinge_paper", "triplet_code"])
def test_the_intra_loss_pulls_at_queries_alone(kind: str) -> None:
    """d/dq of max(q_i . k_j - q_j . k_j + alpha, 0) is k_j at i and -k_j at j; keys get none."""
    q, k = unit(1, 2, 4, seed=1).requires_grad_(), unit(1, 2, 4, seed=2).requires_grad_()
    boxes = torch.tensor([[[0.0, 0, 10, 10], [20, 20, 30, 30]]])
    real = torch.ones(1, 2, dtype=torch.bool)
    # a margin by which both ordered pairs count
    alpha = -2.0 if kind == "hinge_paper" else 2.0
    loss = intra_loss(kind, alpha, q, k, (boxes, boxes), real)
    mine, others = torch.autograd.grad(loss, (q, k), allow_unused=True)
    assert others is None or not others.any()
    with torch.no_grad():
        pull = (k[0, 1] - k[0, 0]) / 2 if kind == "triplet_code" else q[0, 1]
        want = torch.stack([pull, -pull]) if kind == "triplet_code" else q[0].flip(0)
    torch.testing.assert_close(mine[0], want)


@pytest.mark.parametrize(("schedule", "ends"), [("code", (0.8, 0.4)), ("paper", (0.8, 0.3))])
def test_the_curriculum_is_a_line_between_its_ends(
    schedule: str, ends: tuple[float, float]
) -> None:
    first, last = (curriculum(at, schedule) for at in (0.0, 1.0))
    for at in (0.25, 0.5, 0.75):
        found = curriculum(at, schedule)
        assert found.bound == pytest.approx(ends[0] + at * (ends[1] - ends[0]))
        assert found.shift == pytest.approx(first.shift + at * (last.shift - first.shift))
        assert found.log_size == pytest.approx(
            first.log_size + at * (last.log_size - first.log_size)
        )
        assert found.corner == (schedule == "paper")


def test_dropout_keeps_the_mean_in_training_and_everything_in_use() -> None:
    torch.manual_seed(0)
    drop, x = RowDropout(0.25), torch.full((200, 50), 3.0)
    found = drop.train()(x)
    assert set(found.unique().tolist()) == {0.0, 4.0}
    assert float((found == 0).float().mean()) == pytest.approx(0.25, abs=0.02)
    assert torch.equal(drop.eval()(x), x)
    assert torch.equal(RowDropout(0.0).train()(x), x)


def test_views_are_drawn_again_until_one_roi_shows() -> None:
    """Crops of a fifth of the image, RoIs in opposite corners: one try in several shows one of
    them, none shows both; ten tries nearly always find one."""
    table = Ragged(
        np.array([[20, 20, 50, 50], [150, 100, 180, 130]], np.float32), np.array([0, 2])
    )
    views = replace(viewer(table, np.array([[200, 150]])), scale=(0.2, 0.2))
    assert (views.tries, views.part, views.least_area) == (10, 0.6, 144.0)  # paper 003's code
    shows: dict[int, list[bool]] = {1: [], 10: []}
    for tries, found in shows.items():
        tried = replace(views, tries=tries)
        for seed in range(150):
            sample = tried([Source(0), Source(0)], np.random.default_rng(seed))
            for spec in sample.views:
                assert spec.box is not None
                share = visible_share(table.values, spec.box)
                found.append(bool((share > 0.6).any()))
                assert not (share > 0.6).all()
    once = np.mean(shows[1])
    assert 0.05 < once < 0.4
    assert np.mean(shows[10]) == pytest.approx(1 - (1 - once) ** 10, abs=0.08)
