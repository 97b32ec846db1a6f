"""Pseudo-image crops against boxes worked out by hand, and what each does at the edges."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from bench.contracts import registry
from bench.data.objectness import object_mask
from bench.views.sample import choose_crop
from methods.crops._pseudo import usable_boxes
from methods.crops.grid import grid_boxes
from tests.methods.crops.sets import Boxed, boxes_of, crop, epoch, table

RANKED = ("random", "coarse", "selective_search", "edge_boxes", "bing")


def test_the_image_crop_is_two_views_of_the_whole_image_once_each() -> None:
    sampler = crop("image").sampler(Boxed([(9, 9), (5, 4)], [[], []]), {})
    assert [
        [(s.image, s.box, s.kind, s.scale, s.size, s.role) for s in pair]
        for pair in epoch(sampler)
    ] == [[(i, None, "scene", None, None, "view")] * 2 for i in (0, 1)]


def test_both_views_of_a_pseudo_image_come_from_its_box() -> None:
    sampler = crop("gt").sampler(Boxed([(60, 40)], [[(1, 2, 30, 40), (5, 5, 20, 20)]]), {})
    one, two = epoch(sampler)
    assert one[0] == one[1]
    assert (one[0].box, two[0].box) == ((1, 2, 30, 40), (5, 5, 20, 20))
    assert one[0].scale is None  # the method's own random crop goes on inside
    assert (one[0].kind, one[0].role) == ("scene", "view")


def test_grid_by_hand() -> None:
    """100 x 60: rows of 30; thirds end at 33 and 67, the half at 50."""
    lower = [(0, 30, 33, 60), (33, 30, 67, 60), (67, 30, 100, 60)]
    upper = [(0, 0, 50, 30), (50, 0, 100, 30)]
    assert boxes_of(crop("grid").sampler(Boxed([(100, 60)], [[]]), {})) == {0: upper + lower}
    top = crop("grid", grid_three_row="top").sampler(Boxed([(100, 60)], [[]]), {})
    thirds = [(0, 0, 33, 30), (33, 0, 67, 30), (67, 0, 100, 30)]
    assert boxes_of(top) == {0: [*thirds, (0, 30, 50, 60), (50, 30, 100, 60)]}


@pytest.mark.parametrize("size", [(640, 480), (101, 77), (7, 5), (1, 9), (9, 1), (2, 2)])
@pytest.mark.parametrize("rows", [(2, 3), (3, 2)])
def test_grid_cells_tile_the_image_in_equal_parts(
    size: tuple[int, int], rows: tuple[int, int]
) -> None:
    width, height = size
    seen = np.zeros((height, width), int)
    for x1, y1, x2, y2 in grid_boxes(width, height, *rows).astype(int):
        seen[y1:y2, x1:x2] += 1
    assert (seen == 1).all()
    for cells in (
        grid_boxes(width, height, *rows)[: rows[0]],
        grid_boxes(width, height, *rows)[rows[0] :],
    ):
        assert np.ptp(cells[:, 2] - cells[:, 0]) <= 1


def test_a_random_row_is_drawn_by_image_id_not_position() -> None:
    ids = list(range(1, 41))
    settings = {"grid_three_row": "random"}
    forth = boxes_of(crop("grid", **settings).sampler(Boxed([(60, 60)] * 40, [[]] * 40, ids), {}))
    back = boxes_of(
        crop("grid", **settings).sampler(Boxed([(60, 60)] * 40, [[]] * 40, ids[::-1]), {})
    )
    assert [forth[i] for i in range(40)] == [back[39 - i] for i in range(40)]
    three_above = sum(boxes[2][3] == 30 for boxes in forth.values())
    assert 8 <= three_above <= 32


def test_gt_leaves_out_crowds_difficult_objects_and_boxes_below_two_pixels() -> None:
    boxes = [[(0, 0, 10, 10), (5, 5, 25, 15), (8, 8, 28, 18), (3, 3, 4.2, 20)], [], [(1, 1, 5, 5)]]
    images = Boxed([(60, 40)] * 3, boxes, crowd=[(0, 1)], difficult=[(0, 2)])
    sampler = crop("gt").sampler(images, {})
    # the image without boxes: no sample
    assert boxes_of(sampler) == {0: [(0, 0, 10, 10)], 2: [(1, 1, 5, 5)]}
    assert len(sampler) == 2


def test_gt_pad_by_hand() -> None:
    """A 10 x 20 box with 0.5: 5 pixels left and right, 10 above and below, cut at the image."""
    images = Boxed([(60, 50)], [[(20, 15, 30, 35), (2, 40, 12, 50)]])
    found = boxes_of(crop("gt_pad", pad=0.5).sampler(images, {}))
    assert found == {0: [(15, 5, 35, 45), (0, 35, 17, 50)]}
    plain, padded = (
        boxes_of(crop(n, **s).sampler(images, {})) for n, s in (("gt", {}), ("gt_pad", {"pad": 0}))
    )
    assert plain == padded


def test_usable_boxes_by_hand() -> None:
    boxes = [
        (3.4, 3.6, 9.5, 8.5),  # rounds to 3, 4, 10, 8: half to even
        (-4, -3, 5, 6),
        (50, 30, 70, 50),  # cut to the image
        (10, 10, 11.4, 30),
        (10, 10, 30, 11.2),  # narrower or lower than 2 pixels
        (10, 10, 12, 12),  # just enough
        (-20, 5, -3, 15),
        (61, 0, 80, 10),  # outside
        (20, 20, 10, 30),  # inverted
    ]
    assert usable_boxes(np.array(boxes), 60, 40).tolist() == [
        [3, 4, 10, 8],
        [0, 0, 5, 6],
        [50, 30, 60, 40],
        [10, 10, 12, 12],
    ]
    assert usable_boxes(np.zeros((0, 4)), 60, 40).shape == (0, 4)


def test_a_one_pixel_wide_image_has_one_pixel_wide_crops() -> None:
    boxes = np.array([(0, 0, 1, 50), (0, 3, 1, 4), (0, 60, 1, 90)])
    # a single pixel and one outside are left out
    assert usable_boxes(boxes, 1, 40).tolist() == [[0, 0, 1, 40]]


@pytest.mark.parametrize("name", RANKED)
def test_ranked_crops_take_the_first_usable_boxes(name: str, tmp_path: Path) -> None:
    images = Boxed([(60, 40)] * 4, [[]] * 4)
    many = [(i, i, i + 10, i + 10) for i in range(9)]
    slivers = [(0, 0, 1, 30)] * 50
    inputs = table(tmp_path, images, [many, slivers + many[:2], [], slivers])
    found = boxes_of(crop(name, n_crops=3).sampler(images, inputs))
    whole = (0, 0, 60, 40)
    assert found == {0: many[:3], 1: many[:2], 2: [whole], 3: [whole]}
    assert crop(name).params.n_crops == 5


def test_poor_crops_hold_little_object_and_follow_the_image_id() -> None:
    rng = np.random.default_rng(0)
    sizes, boxes = [], []
    for _ in range(60):
        sizes.append((int(rng.integers(80, 200)), int(rng.integers(80, 200))))
        low = rng.uniform(0, 60, (3, 2))
        boxes.append(np.concatenate([low, low + rng.uniform(10, 60, (3, 2))], 1).tolist())
        boxes[-1] = np.clip(boxes[-1], 0, [*sizes[-1], *sizes[-1]]).tolist()
    images = Boxed(sizes, boxes)
    found = boxes_of(crop("poor").sampler(images, {}))
    shares = []
    for i, (width, height) in enumerate(sizes):
        mask = np.zeros((height, width), bool)
        for x1, y1, x2, y2 in np.rint(boxes[i]).astype(int):
            mask[y1:y2, x1:x2] = True
        assert np.array_equal(mask, object_mask(images, i))
        for x1, y1, x2, y2 in np.array(found[i], int):
            shares.append(float(mask[y1:y2, x1:x2].mean()))
            # rounding to whole pixels
            assert 0.035 <= (x2 - x1) * (y2 - y1) / (width * height) <= 0.32
    assert max(shares) <= 0.5
    assert len(shares) == 5 * 60
    assert np.mean(shares) == pytest.approx(0.2, abs=0.03)
    order = rng.permutation(60)
    shuffled = Boxed(
        [sizes[i] for i in order], [boxes[i] for i in order], [7 * (i + 1) for i in order]
    )
    again = boxes_of(crop("poor").sampler(shuffled, {}))
    assert all(again[at] == found[i] for at, i in enumerate(order))


def test_poor_finds_nothing_where_objects_fill_the_image() -> None:
    images = Boxed([(60, 40), (60, 40)], [[(0, 0, 60, 40)], []])
    found = boxes_of(crop("poor").sampler(images, {}))
    assert list(found) == [1]
    assert len(set(found[1])) == 5


def test_iterations_matched_draws_one_crop_an_image() -> None:
    """Images 0 and 2 have 4 crops and 1, image 1 none: 3 samples an epoch, over the images that
    have any."""
    boxes = [[(i, 0, i + 10, 10) for i in range(4)], [], [(5, 5, 30, 30)]]
    images = Boxed([(60, 40)] * 3, boxes)
    assert len(crop("gt").sampler(images, {})) == 5
    sampler = crop("gt", iterations_matched=True).sampler(images, {})
    assert len(sampler) == 3
    described = crop("gt", iterations_matched=True).with_every_region()
    assert len(described.sampler(images, {})) == 5, "statistics and pictures are of every crop"
    drawn = [[pair[0] for pair in epoch(sampler, seed)] for seed in range(200)]
    assert all([s.image for s in one] == [0, 2, 0] for one in drawn)
    firsts = [one[0].box for one in drawn]
    counts = [firsts.count(tuple(map(float, b))) for b in boxes[0]]
    assert sum(counts) == 200
    assert min(counts) > 25  # uniform over the image's crops
    assert len(crop("gt", iterations_matched=True).sampler(Boxed([(9, 9)], [[]]), {})) == 0


def test_without_a_random_crop_a_view_shows_exactly_its_box() -> None:
    byol = registry.load("method", "byol").resolve("tiny")
    images = Boxed([(60, 40)], [[(3, 4, 33, 24)]])
    for random_crop, exact in ((False, True), (True, False)):
        sampler = crop("gt", random_crop=random_crop).sampler(images, {})
        shown = set()
        for seed in range(20):
            rng = np.random.default_rng(seed)
            views = byol.viewer(images, {})(sampler.sources(0, rng), rng).views  # type: ignore[attr-defined]
            shown |= {choose_crop(v, 60, 40, rng) for v in views}
        assert (shown == {(3, 4, 33, 24)}) == exact
        assert all(x1 >= 3 and y1 >= 4 and x2 <= 33 and y2 <= 24 for x1, y1, x2, y2 in shown)


@pytest.mark.parametrize("name", registry.names("crop"))
def test_samplers_reach_worker_processes(name: str, tmp_path: Path) -> None:
    images = Boxed([(60, 40)] * 2, [[(3, 4, 33, 24)]] * 2)
    sampler = crop(name).sampler(images, table(tmp_path, images, [[(1, 1, 20, 20)]] * 2))
    assert epoch(pickle.loads(pickle.dumps(sampler)), 3) == epoch(sampler, 3)
