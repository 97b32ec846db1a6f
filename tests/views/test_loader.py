"""The loader: order of batches, independence of workers and starting
step, geometry of the views."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from bench.contracts.images import ImageSet
from bench.contracts.network import Batch
from bench.contracts.views import Augment, Sample, Source, ViewSpec
from bench.core.errors import BadInput
from bench.views.augment import AT, MEAN, STD
from bench.views.loader import BatchOrder, make_loader, steps_per_epoch, to_device

PLAIN = Augment(p_flip=0.5)
FULL = Augment(0.5, 0.8, (0.4, 0.4, 0.2, 0.1), 0.2, 0.5, (0.5, 4.0), 0.3)


class Squares(ImageSet):
    """Dark images, each with one bright 12-pixel square at its own place, as PNG files."""

    def __init__(self, folder: Path, n: int) -> None:
        self.folder, self.name, self.split, self.classes = folder, "squares", "train", []
        rng = np.random.default_rng(1)
        self.ids = np.arange(100, 100 + n, dtype=np.int64)
        self.sizes = rng.integers(60, 100, (n, 2)).astype(np.int32)
        self.corners = (rng.random((n, 2)) * (self.sizes - 12)).astype(int)
        for i, ((width, height), (x, y)) in enumerate(zip(self.sizes, self.corners, strict=True)):
            image = rng.integers(0, 30, (height, width, 3), dtype=np.uint8)
            image[y : y + 12, x : x + 12] = 250
            cv2.imwrite(str(self.file(i)), image)

    def file(self, index: int) -> Path:
        return self.folder / f"{index}.png"


class Images:
    """Both views of a sample from the whole image; every third sample is called an object."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def sources(self, index: int, rng: np.random.Generator) -> list[Source]:
        return [Source(index, kind="object" if index % 3 == 0 else "scene")] * 2


class TwoViews:
    """A large and a small random resized crop, and an array per sample."""

    def __init__(self, recipe: Augment) -> None:
        self.recipe = recipe

    def __call__(self, sources: list[Source], rng: np.random.Generator) -> Sample:
        views = [
            ViewSpec(role, s.image, s.box, size, self.recipe, scale=(0.3, 1.0), kind=s.kind)
            for role, s, size in zip(("large", "small"), sources, (48, 24), strict=True)
        ]
        return Sample(views, {"draw": rng.random(2).astype(np.float32)})


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Squares:
    return Squares(tmp_path_factory.mktemp("squares"), 13)


def batches(
    squares: Squares,
    workers: int = 0,
    start: int = 0,
    seed: int = 0,
    rank: int = 0,
    world: int = 1,
    recipe: Augment = FULL,
) -> list[dict[str, Any]]:
    order = BatchOrder(13, 4, 2, seed, start, rank, world)
    return list(make_loader(squares, Images(13), TwoViews(recipe), seed, order, workers))


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    pairs = [(a["extra"]["draw"], b["extra"]["draw"])]
    for role in ("large", "small"):
        pairs += [
            (a["roles"][role][k], b["roles"][role][k])
            for k in ("images", "params", "boxes", "index")
        ]
    kinds = all(
        torch.equal(a["roles"][r]["objects"], b["roles"][r]["objects"]) for r in ("large", "small")
    )
    return kinds and all(torch.equal(x, y) for x, y in pairs)


def test_every_epoch_is_a_new_permutation_without_the_last_partial_batch() -> None:
    made = list(BatchOrder(13, 4, 3, seed=7))
    assert len(made) == 9
    epochs = [[key for batch in made[3 * e : 3 * e + 3] for key in batch] for e in range(3)]
    for e, keys in enumerate(epochs):
        assert {epoch for epoch, _ in keys} == {e}
        assert len({i for _, i in keys}) == 12
        assert {i for _, i in keys} <= set(range(13))
    assert len({tuple(i for _, i in keys) for keys in epochs}) == 3
    seen = {i for keys in [list(BatchOrder(13, 4, 30, 7))] for batch in keys for _, i in batch}
    assert seen == set(range(13)), "over epochs nobody is left out"


def test_order_follows_from_the_seed_alone() -> None:
    assert list(BatchOrder(50, 8, 2, 3)) == list(BatchOrder(50, 8, 2, 3))
    assert list(BatchOrder(50, 8, 2, 3)) != list(BatchOrder(50, 8, 2, 4))


def test_a_set_smaller_than_a_batch_is_one_batch() -> None:
    made = list(BatchOrder(5, 8, 2, 0))
    assert [sorted(i for _, i in batch) for batch in made] == [[0, 1, 2, 3, 4]] * 2
    assert steps_per_epoch(5, 8) == 1
    assert steps_per_epoch(16, 8) == 2
    assert steps_per_epoch(17, 8) == 2


@pytest.mark.parametrize("start", [0, 1, 2, 3, 4, 5, 8, 9])
def test_start_step_is_the_tail_of_the_whole(start: int) -> None:
    whole = list(BatchOrder(13, 4, 3, 1))
    tail = BatchOrder(13, 4, 3, 1, start)
    assert list(tail) == whole[start:]
    assert len(tail) == 9 - start


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_partition_each_global_batch(world: int) -> None:
    whole = list(BatchOrder(30, 8, 2, 1))
    ranks = [list(BatchOrder(30, 8, 2, 1, 0, r, world)) for r in range(world)]
    for step, batch in enumerate(whole):
        assert [key for rank in ranks for key in rank[step]] == batch
        assert {len(rank[step]) for rank in ranks} == {8 // world}


def test_a_batch_that_does_not_divide_over_the_devices() -> None:
    with pytest.raises(
        BadInput, match=r"batch_size 8 must divide over 3 devices.*method\.batch_size=6"
    ):
        BatchOrder(30, 8, 2, 1, 0, 0, 3)


def test_same_batches_for_any_number_of_workers(squares: Squares) -> None:
    alone, two = batches(squares), batches(squares, workers=2)
    assert len(alone) == len(two) == 6
    assert all(same(a, b) for a, b in zip(alone, two, strict=True))


@pytest.mark.parametrize("start", [1, 3, 5])
def test_same_batches_from_any_starting_step(squares: Squares, start: int) -> None:
    whole, tail = batches(squares), batches(squares, start=start)
    assert all(same(a, b) for a, b in zip(whole[start:], tail, strict=True))


def test_ranks_see_the_samples_of_the_whole(squares: Squares) -> None:
    whole, ranks = batches(squares), [batches(squares, rank=r, world=2) for r in range(2)]
    for step, batch in enumerate(whole):
        joined = torch.cat([rank[step]["roles"]["large"]["images"] for rank in ranks])
        assert torch.equal(joined, batch["roles"]["large"]["images"])


def test_views_differ_between_epochs_seeds_and_the_views_of_a_sample(squares: Squares) -> None:
    made, other = batches(squares), batches(squares, seed=1)
    boxes: dict[tuple[int, int], set[tuple[float, ...]]] = {}
    for batch in made + other:
        for role in ("large", "small"):
            part = batch["roles"][role]
            for index, box in zip(part["index"].tolist(), part["boxes"].tolist(), strict=True):
                boxes.setdefault((index, 0), set()).add(tuple(box))
    total = sum(len(b["roles"]["large"]["index"]) * 2 for b in made + other)
    assert sum(map(len, boxes.values())) > 0.97 * total


def batch_of(squares: Squares, recipe: Augment) -> tuple[dict[str, Any], Batch]:
    raw = batches(squares, recipe=recipe)[0]
    return raw, to_device(raw, "cpu", 3, 6)


def test_shapes_and_kinds(squares: Squares) -> None:
    raw, batch = batch_of(squares, FULL)
    for role, size in (("large", 48), ("small", 24)):
        assert raw["roles"][role]["images"].dtype == torch.uint8
        views = batch.views[role]
        assert views.images.shape == (4, 3, size, size)
        assert views.images.dtype == torch.float32
        assert views.images.is_contiguous(memory_format=torch.channels_last)
        assert views.boxes.shape == (4, 4)
        assert views.index.tolist() == batch.views["large"].index.tolist()
        assert views.objects.tolist() == [i % 3 == 0 for i in views.index.tolist()]
    assert batch.extra["draw"].shape == (4, 2)
    assert (batch.step, batch.total_steps) == (3, 6)


def test_the_square_is_where_the_geometry_says(squares: Squares) -> None:
    flipped = visible = 0
    for raw in batches(squares, recipe=PLAIN):
        batch = to_device(raw, "cpu", 0, 1)
        for role, views in batch.views.items():
            size = views.images.shape[-1]
            light = views.images * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(
                3, 1, 1
            )
            assert torch.equal(views.flipped, raw["roles"][role]["params"][:, AT["flip"]] > 0)
            for i in range(len(light)):
                corner = squares.corners[int(views.index[i])]
                expected = in_view(corner, views.boxes[i].numpy(), bool(views.flipped[i]), size)
                found = light[i].mean(0).numpy() > 0.55
                flipped += bool(views.flipped[i])
                if expected is None:
                    continue
                visible += 1
                ys, xs = found.nonzero()
                assert len(ys), (role, i, expected)
                box = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
                np.testing.assert_allclose(box, expected, atol=1.6)
    assert visible > 25
    assert 10 < flipped < 38


def in_view(corner: np.ndarray, box: np.ndarray, flip: bool, size: int) -> np.ndarray | None:
    """The square (12 pixels at `corner`) in a view's pixels,
    None where a good part is outside of it."""
    square = np.array([*corner, *(corner + 12)], float)
    inside = np.clip(square, np.tile(box[:2], 2), np.tile(box[2:], 2))
    if np.prod(inside[2:] - inside[:2]) < 40:
        return None
    scale = size / (box[2:] - box[:2])
    x1, y1, x2, y2 = (inside - np.tile(box[:2], 2)) * np.tile(scale, 2)
    return np.array([size - x2, y1, size - x1, y2] if flip else [x1, y1, x2, y2])


def test_an_image_is_decoded_once_and_kept_where_the_set_is_small(
    squares: Squares, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []
    read = Squares.image
    monkeypatch.setattr(Squares, "image", lambda self, i: opened.append(i) or read(self, i))
    kept = batches(squares)
    assert len(opened) == len(set(opened)), "both epochs from one decoding"
    opened.clear()
    monkeypatch.setattr("bench.views.loader.CACHE_BYTES", 1)
    assert all(same(a, b) for a, b in zip(kept, batches(squares), strict=True))
    assert len(opened) == 24, "without the cache once a sample, not once a view"
