"""Object discovery: Hough matching and stand-out scores against plain loops, recall on planted
objects, runs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import box_iou, nms

from bench.contracts.context import StageContext
from bench.contracts.registry import load
from bench.core.errors import BadInput
from bench.core.params import Runtime
from bench.core.stage import Stage
from bench.core.store import Store
from bench.launch.local import LocalEngine
from bench.plan.cell import Cell
from bench.plan.planner import Planner
from bench.stages import proposals as engine
from methods.proposals.object_discovery import stages
from methods.proposals.object_discovery.discovery import (
    best_first,
    containers,
    hough_confidence,
    pair_stand_out,
    stand_out,
)
from methods.proposals.object_discovery.stages import region_features
from methods.proposals.object_discovery.tables import Regions, load_regions, match
from tests.core.test_store import Heard

DISCOVERY: Any = load("proposals", "object_discovery")


def random_boxes(rng: np.random.Generator, n: int, size: tuple[int, int]) -> np.ndarray:
    corners = rng.uniform(0, size, (n, 2, 2))
    low, high = corners.min(1), corners.max(1)
    return np.concatenate([low, np.minimum(high + 4, size)], 1)


def plain_hough(
    s: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    size_a: tuple[int, int],
    size_b: tuple[int, int],
    cells: int,
) -> np.ndarray:
    """The equations of `hough_confidence`, one match at a time."""

    def bin_of(k: int, m: int) -> tuple[int, int, int] | None:
        place, log_area, aspect = [], 0.0, 1.0
        for d in (0, 1):
            side_a, side_b = a[k, d + 2] - a[k, d], b[m, d + 2] - b[m, d]
            factor = side_b / side_a
            centre = (b[m, d] + b[m, d + 2]) / 2 + (
                size_a[d] / 2 - (a[k, d] + a[k, d + 2]) / 2
            ) * factor
            place.append(math.floor((centre / size_b[d] + 0.5) / 2 * cells))
            log_area += math.log2(factor * size_a[d] / size_b[d])
            aspect *= factor if d == 0 else 1 / factor
        scale = math.floor((log_area + 4) / 8 * 20)
        inside = all(0 <= p < cells for p in place) and 0 <= scale < 20
        return (place[0], place[1], scale) if inside and 0.5 < aspect < 2 else None

    space: dict[tuple[int, int, int], float] = {}
    for k in range(len(a)):
        best: dict[tuple[int, int, int], float] = {}
        for m in range(len(b)):
            at = bin_of(k, m)
            if at is not None:
                best[at] = max(best.get(at, 0.0), s[k, m])
        for at, vote in best.items():
            space[at] = space.get(at, 0.0) + vote
    sigma = 5 / (4 * math.sqrt(2 * math.log(2)))
    taps = [math.exp(-(t**2) / (2 * sigma**2)) for t in (-2, -1, 0, 1, 2)]
    taps = [t / sum(taps) for t in taps]
    result = np.zeros((len(a), len(b)))
    for k in range(len(a)):
        for m in range(len(b)):
            at = bin_of(k, m)
            if at is None:
                continue
            smooth = sum(
                taps[dx + 2]
                * taps[dy + 2]
                * taps[dz + 2]
                * space.get((at[0] + dx, at[1] + dy, at[2] + dz), 0)
                for dx in range(-2, 3)
                for dy in range(-2, 3)
                for dz in range(-2, 3)
            )
            result[k, m] = max(s[k, m], 0) * smooth
    return result


@pytest.mark.parametrize("seed", range(4))
def test_confidence_equals_the_plain_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size_a, size_b = (200, 150), (120, 160)
    a, b = random_boxes(rng, 14, size_a), random_boxes(rng, 11, size_b)
    s = rng.uniform(-0.3, 1, (14, 11))
    expected = plain_hough(s, a, b, size_a, size_b, 9)
    assert (expected > 0).sum() > 20
    assert hough_confidence(s, a, b, size_a, size_b, 9) == pytest.approx(expected, rel=1e-9)


def test_matches_that_agree_on_one_shift_win_over_equal_ones_that_do_not() -> None:
    a = np.array([[10, 10, 40, 40], [50, 20, 80, 50], [30, 60, 60, 90]], float)
    confidence = hough_confidence(np.ones((3, 3)), a, a + 20, (200, 200), (200, 200), 32)
    assert (confidence.argmax(1) == np.arange(3)).all()
    assert confidence.diagonal().min() > 2 * (confidence - np.diag(confidence.diagonal())).max()


def test_matches_out_of_reach_get_nothing() -> None:
    image, size = np.array([[0.0, 0, 100, 100]]), (100, 100)
    small, flat = np.array([[40.0, 40, 60, 60]]), np.array([[0.0, 20, 100, 70]])
    one = np.ones((1, 1))
    assert hough_confidence(one, image, image, size, size, 8) > 0
    # 25 times smaller: beyond 4 octaves
    assert hough_confidence(one, image, small, size, size, 8) == 0
    # aspect ratios differ by exactly 2
    assert hough_confidence(one, image, flat, size, size, 8) == 0
    assert hough_confidence(-one, image, image, size, size, 8) == 0


NEST = np.array([[0, 0, 100, 100], [10, 10, 70, 70], [20, 20, 50, 50], [80, 80, 95, 95]], float)


def test_a_nest_of_three() -> None:
    """Areas 10000, 3600, 900 and 225: the first holds all others, the second the third."""
    expected = np.zeros((4, 4), bool)
    expected[1, 0] = expected[2, 0] = expected[3, 0] = expected[2, 1] = True
    inside = containers(NEST, 0.5)
    assert (inside == expected).all()
    assert not containers(NEST, 0.36)[1, 0]  # 3600 is not less than .36 x 10000
    assert stand_out(np.array([2.0, 5.0, 6.0, 1.0]), inside).tolist() == [2, 3, 1, -1]


def test_a_region_is_contained_when_more_than_four_fifths_of_it_are() -> None:
    outer = [0.0, 0, 100, 100]
    assert not containers(np.array([outer, [80.0, 0, 105, 20]]), 0.5)[1, 0]  # 20 of 25 columns
    assert containers(np.array([outer, [79.0, 0, 104, 20]]), 0.5)[1, 0]


@pytest.mark.parametrize("seed", range(3))
def test_pair_stand_out_equals_the_plain_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    c = rng.uniform(0, 1, (9, 7))
    pa, pb = (containers(random_boxes(rng, n, (100, 100)), 0.8) for n in (9, 7))
    expected = np.zeros((9, 7))
    for k in range(9):
        for m in range(7):
            around = [c[i, j] for i in range(9) for j in range(7) if pa[k, i] and pb[m, j]]
            expected[k, m] = max(0.0, c[k, m] - max(around, default=0.0))
    assert (expected < c).any()
    assert pair_stand_out(c, pa, pb) == pytest.approx(expected)


def test_boxes_are_ranked_and_suppressed_as_torchvision_does() -> None:
    rng = np.random.default_rng(0)
    boxes, score = random_boxes(rng, 60, (100, 100)), rng.uniform(0.1, 3, 60)
    order, shares = best_first(boxes, score, np.zeros(60), 0.5, 5)
    assert order.tolist() == nms(torch.from_numpy(boxes), torch.from_numpy(score), 0.5).tolist()
    assert shares == pytest.approx(score[order] / score.max())


def test_ties_go_to_the_more_confident_and_suppressed_boxes_fill_up() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 8], [20, 20, 30, 30]], float)
    order, shares = best_first(
        boxes, np.array([0.0, -1.0, 0.0, 2.0]), np.array([1.0, 9.0, 2.0, 0.0]), 0.5, 3
    )
    assert order.tolist() == [3, 2, 0]
    assert shares.tolist() == [1, 0, 0]
    assert best_first(boxes, np.zeros(4), np.zeros(4), 0.5, 9)[0].tolist() == [0, 3, 1, 2]


class Colours(nn.Module):
    """A backbone made by hand: colours of 4 x 4 pixel cells."""

    feature_dim = 3

    def maps(self, images: Tensor) -> Tensor:
        return F.avg_pool2d(images, 4)


class Planted:
    """`n` pictures of 160 x 120 with smooth random backgrounds and one chequered object each, the
    same on all but for place and scale; candidates near it, inside it, around it and anywhere, in
    random order."""

    def __init__(self, n: int) -> None:
        rng = np.random.default_rng(7)
        pattern = rng.integers(0, 256, (3, 3, 3), np.uint8)
        self.name, self.split, self.ids = "planted", "train", np.arange(n) * 3 + 5
        self.sizes = np.array([[160, 120]] * n, np.int32)
        self.pictures, self.truth, self.candidates = [], [], []
        for _ in range(n):
            picture = cv2.resize(
                rng.integers(0, 256, (4, 5, 3), np.uint8),
                (160, 120),
                interpolation=cv2.INTER_CUBIC,
            )
            side = int(rng.integers(36, 55))
            x, y = int(rng.integers(0, 160 - side)), int(rng.integers(0, 120 - side))
            picture[y : y + side, x : x + side] = cv2.resize(
                pattern, (side, side), interpolation=cv2.INTER_NEAREST
            )
            true = np.array([x, y, x + side, y + side], float)
            near = true + rng.uniform(-0.12, 0.12, (3, 4)) * side
            third = side / 3
            parts = [
                [x + i * third, y + j * third, x + (i + 2) * third, y + (j + 2) * third]
                for i in (0, 1)
                for j in (0, 1)
            ]
            around = true + np.array([[-1, -1, 1, 1]]) * rng.uniform(0.35, 1, (4, 1)) * side
            every = np.concatenate([near, parts, around, random_boxes(rng, 30, (160, 120))])
            every = np.clip(every, 0, [160, 120, 160, 120]).astype(np.float32)
            self.pictures.append(picture)
            self.truth.append(true)
            self.candidates.append(every[rng.permutation(len(every))])

    def __len__(self) -> int:
        return len(self.ids)

    def image(self, index: int) -> np.ndarray:
        return self.pictures[index]


def tables(images: Planted, neighbours: np.ndarray) -> Regions:
    projection = torch.from_numpy(np.random.default_rng(0).standard_normal((27, 64), np.float32))
    settings = {"size": 96, "grid": 3}
    part = range(len(images))
    features = region_features(Colours(), images, part, images.candidates, settings, projection)  # type: ignore[arg-type]
    first = np.cumsum([0, *map(len, images.candidates)])
    return Regions(
        images.ids, images.sizes, first, np.concatenate(images.candidates), features, neighbours
    )


def ring(n: int, k: int) -> np.ndarray:
    return (np.arange(n)[:, None] + np.arange(1, k + 1)) % n


def recall(found: list[np.ndarray], truth: list[np.ndarray], top: int) -> float:
    hits = [
        bool(
            (
                box_iou(torch.tensor(boxes[:top]).double(), torch.from_numpy(true)[None]) >= 0.5
            ).any()
        )
        for boxes, true in zip(found, truth, strict=True)
    ]
    return float(np.mean(hits))


@pytest.mark.parametrize("kind", ["pair", "region"])
def test_a_recurring_object_is_found(kind: str) -> None:
    images = Planted(24)
    found = tables(images, ring(24, 8))
    ranked = []
    for i in range(24):
        score, confidence = match(found, i, 32, 0.5, kind == "pair")
        if kind == "region":
            score = stand_out(score, containers(found.boxes(i), 0.5))
        ranked.append(found.boxes(i)[best_first(found.boxes(i), score, confidence, 0.5, 5)[0]])
    rng = np.random.default_rng(1)
    chance = [random_boxes(rng, 5, (160, 120)) for _ in range(24)]
    top1, top5 = recall(ranked, images.truth, 1), recall(ranked, images.truth, 5)
    print(f"{kind}: top-1 {top1:.2f}, top-5 {top5:.2f}")
    assert top1 >= 0.6
    assert top5 >= 0.9
    for other in (images.candidates, chance):
        assert top1 > 2 * recall(other, images.truth, 1) + 0.2
        assert top5 > recall(other, images.truth, 5) + 0.2


def test_region_features_are_the_colours_inside() -> None:
    """Boxes on cell borders: RoIAlign averages whole cells, so a region's feature is its mean
    colour."""
    picture = np.zeros((64, 32, 3), np.uint8)
    picture[:32], picture[32:] = (255, 0, 0), (0, 128, 255)
    images = SimpleNamespace(image=lambda i: picture)
    boxes = [np.array([[4, 8, 28, 24], [4, 40, 28, 56]], np.float32)]
    found = region_features(
        Colours(), images, range(1), boxes, {"size": 64, "grid": 1}, torch.eye(3)
    )  # type: ignore[arg-type]
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    colours = (np.array([[1, 0, 0], [0, 128 / 255, 1]]) - mean) / std
    expected = colours / np.linalg.norm(colours, axis=1, keepdims=True)
    assert found.dtype == np.float16
    assert found == pytest.approx(expected, abs=2e-3)


def test_a_blank_map_has_no_feature() -> None:
    class Blank(nn.Module):
        def maps(self, images: Tensor) -> Tensor:
            return torch.zeros(len(images), 3, 2, 2)

    images = SimpleNamespace(image=lambda i: np.full((20, 30, 3), 7, np.uint8))
    boxes = [np.array([[0, 0, 30, 20]], np.float32)]
    found = region_features(
        Blank(), images, range(1), boxes, {"size": 32, "grid": 1}, torch.eye(3)
    )  # type: ignore[arg-type]
    assert found.tolist() == [[0, 0, 0]]


def write(folder: Path, table: Regions) -> None:
    folder.mkdir(parents=True)
    for name in ("ids", "sizes", "first"):
        np.save(folder / f"{name}.npy", getattr(table, name))
    np.save(folder / "boxes.npy", table.all_boxes)
    np.save(folder / "features.npy", table.all_features)
    np.savez(folder / "neighbours.npz", ids=table.ids, neighbour_ids=table.ids[table.neighbours])


def discover(
    folder: Path, table: Regions, workers: int, monkeypatch: pytest.MonkeyPatch
) -> engine.ProposalTable:
    write(folder / "in", table)
    (folder / "out").mkdir()
    images = SimpleNamespace(ids=table.ids, name="planted", split="train")
    monkeypatch.setattr(StageContext, "images", lambda self, role, split: SizedSet(images))
    identity = DISCOVERY(DISCOVERY.Params()).identity()
    params = {"proposals": identity, "split": "train", "seed": 0}
    runtime = Runtime(home=folder, database="sqlite://", workers=workers)
    stage = Stage("proposals", "object_discovery", 1, params, "")
    inputs = {"regions": folder / "in", "neighbours": folder / "in"}
    engine.run(StageContext(stage, folder / "out", inputs, runtime))
    return engine.load_proposals(folder / "out")


class SizedSet:
    def __init__(self, images: SimpleNamespace) -> None:
        self.ids, self.name, self.split = images.ids, images.name, images.split

    def __len__(self) -> int:
        return len(self.ids)


def shuffled(table: Regions, order: np.ndarray) -> Regions:
    """The same images in another order."""
    place = np.argsort(order)
    boxes, features = [table.boxes(i) for i in order], [table.features(i) for i in order]
    first = np.cumsum([0, *map(len, boxes)])
    arrays = np.concatenate(boxes), np.concatenate(features).astype(np.float16)
    return Regions(
        table.ids[order], table.sizes[order], first, *arrays, place[table.neighbours[order]]
    )


def test_workers_and_image_order_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tables(Planted(9), ring(9, 3))
    alone = discover(tmp_path / "a", table, 0, monkeypatch)
    pair = discover(tmp_path / "b", table, 2, monkeypatch)
    order = np.random.default_rng(3).permutation(9)
    other = discover(tmp_path / "c", shuffled(table, order), 0, monkeypatch)
    for image in table.ids:
        assert len(alone.boxes(image)) >= 5
        assert (np.diff(alone.scores(image)) <= 0).all()
        for again in (pair, other):
            assert np.array_equal(again.boxes(image), alone.boxes(image))
            assert np.array_equal(again.scores(image), alone.scores(image))
    about = json.loads((tmp_path / "a" / "out" / "model.json").read_text())
    assert (about["unsupervised"], about["neighbours"]) == ("byol", 3)


def test_tables_of_other_images_are_refused(tmp_path: Path) -> None:
    table = tables(Planted(4), ring(4, 2))
    write(tmp_path / "a", table)
    found = load_regions(tmp_path / "a", tmp_path / "a")
    assert np.array_equal(found.neighbours, table.neighbours)
    ctx: Any = SimpleNamespace(
        inputs={"regions": tmp_path / "a", "neighbours": tmp_path / "a"}, work=tmp_path
    )
    images: Any = SimpleNamespace(ids=np.array([1, 2]), name="planted", split="val")
    with pytest.raises(BadInput, match="train split alone, not of planted/val"):
        DISCOVERY(DISCOVERY.Params()).prepare(ctx, images)
    np.savez(
        tmp_path / "a" / "neighbours.npz",
        ids=table.ids + 1,
        neighbour_ids=table.ids[table.neighbours],
    )
    load_regions.cache_clear()
    with pytest.raises(BadInput, match="other images"):
        load_regions(tmp_path / "a", tmp_path / "a")


SETS = (
    ("scenes.n_train", "12"),
    ("scenes.n_val", "4"),
    ("byol.epochs", "1"),
    ("byol.batch_size", "4"),
    ("byol.warmup_epochs", "0"),
    ("byol.image_size", "32"),
    ("object_discovery.neighbours", "4"),
    ("object_discovery.image_size", "64"),
    ("object_discovery.candidates", "20"),
    ("orl.neighbours", "4"),
)


def planner(home: Path, *more: tuple[str, str]) -> tuple[Planner, Runtime]:
    runtime = Runtime(home=home, database="sqlite://", workers=0, tracker="none", devices="cpu")
    cell = Cell("byol", "image", "coco_det", "scenes", "scenes", "tiny", 0, SETS + more)
    return Planner(cell, runtime), runtime


def test_from_images_to_boxes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, runtime = planner(tmp_path / "home")
    data = plan.data("scenes")
    stage = plan.proposals("object_discovery", data)
    orl = plan.pretrain("orl", "image", data)
    assert stage.inputs["neighbours"].key == orl.inputs["pairs"].inputs["neighbours"].key
    local = LocalEngine(runtime, Store(tmp_path / "home"), Heard())
    folder = local.ensure(stage)
    table, info = engine.load_proposals(folder), engine.proposals_info(folder)
    assert info["images"] == 12
    candidates = engine.load_proposals(local.ensure(stage.inputs["regions"].inputs["proposals"]))
    for image in table.at:
        given = {tuple(b) for b in candidates.boxes(image).tolist()}
        assert {tuple(b) for b in table.boxes(image).tolist()} <= given
        assert len(table.boxes(image)) >= 3
        assert table.scores(image)[0] > 0
    assert json.loads((folder / "model.json").read_text())["feature_dim"] == 256
    _resumes(local, stage.inputs["regions"], runtime, tmp_path / "again", monkeypatch)


def _resumes(
    local: LocalEngine, stage: Stage, runtime: Runtime, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the first of three chunks, the features come out as in one go."""
    monkeypatch.setattr(stages, "CHUNK", 4)
    inputs = {role: local.ensure(s) for role, s in stage.inputs.items()}
    work.mkdir()
    real, calls = stages.region_features, []

    def killed(*arguments: Any) -> np.ndarray:
        calls.append(arguments[2])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(stages, "region_features", killed)
    with pytest.raises(KeyboardInterrupt):
        stages.make_regions(StageContext(stage, work, inputs, runtime))
    stages.make_regions(StageContext(stage, work, inputs, runtime))
    assert calls == [range(4), range(4, 8), range(4, 8), range(8, 12)]
    done = local.ensure(stage)
    found, once = np.load(work / "features.npy"), np.load(done / "features.npy")
    assert found == pytest.approx(once, abs=2e-3)
    assert np.linalg.norm(found.astype(float), axis=1) == pytest.approx(1, abs=2e-3)
    assert np.array_equal(np.load(work / "boxes.npy"), np.load(done / "boxes.npy"))


def test_more_neighbours_than_images_and_its_own_boxes_are_bad_input(tmp_path: Path) -> None:
    plan, runtime = planner(tmp_path / "home", ("object_discovery.neighbours", "12"))
    local = LocalEngine(runtime, Store(tmp_path / "home"), Heard())
    stage = plan.proposals("object_discovery", plan.data("scenes"))
    with pytest.raises(BadInput, match="less than the number of images, got 12 for 12"):
        local.ensure(stage)
    plan, _ = planner(tmp_path / "home", ("object_discovery.proposals", "object_discovery"))
    with pytest.raises(BadInput, match="its own boxes"):
        plan.proposals("object_discovery", plan.data("scenes"))
