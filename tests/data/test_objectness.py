"""Object pixels of regions: unions of boxes and of masks against loops over pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from bench.contracts.images import Objects
from bench.core.errors import BadData
from bench.data.objectness import count_in, integral, object_mask, share_of
from bench.views.sample import whole_pixels
from tests.methods.crops.sets import Boxed
from tests.small_set import SmallSet

edge = st.floats(-20, 60)
box = st.tuples(edge, edge, st.floats(0, 50), st.floats(0, 50)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)


@given(
    st.lists(box, max_size=4),
    st.lists(box, min_size=1, max_size=4),
    st.integers(1, 30),
    st.integers(1, 30),
)
@settings(max_examples=40, deadline=None)
def test_share_is_a_loop_over_pixels(objects: Any, crops: Any, width: int, height: int) -> None:
    """A pixel is an object's if it lies in any box; a crop's share counts each pixel once."""
    images = Boxed([(width, height)], [objects])
    found = share_of(object_mask(images, 0), np.array(crops))
    truth = [whole_pixels(tuple(b), width, height) for b in images.boxes[0]]  # type: ignore[arg-type]
    for share, crop in zip(found, crops, strict=True):
        x1, y1, x2, y2 = whole_pixels(crop, width, height)
        hits = total = 0
        for y in range(int(y1), int(y2)):
            for x in range(int(x1), int(x2)):
                total += 1
                hits += any(a <= x < c and b <= y < d for a, b, c, d in truth)
        assert share == pytest.approx(hits / total)


def test_overlapping_boxes_count_once_by_hand() -> None:
    images = Boxed([(20, 10)], [[(0, 0, 10, 10), (5, 0, 15, 10)]])
    crops = np.array([(0, 0, 20, 10), (0, 0, 10, 10), (12, 0, 20, 10), (15, 0, 20, 10)])
    assert share_of(object_mask(images, 0), crops).tolist() == [0.75, 1, 0.375, 0]


def test_crowds_are_no_objects_difficult_ones_are() -> None:
    boxes = [[(0, 0, 4, 10), (8, 0, 12, 10), (16, 0, 20, 10)]]
    found = object_mask(Boxed([(20, 10)], boxes, crowd=[(0, 0)], difficult=[(0, 1)]), 0)
    assert not found[:, :8].any()
    assert found[:, 8:12].all()
    assert found[:, 16:].all()


def test_integral_and_counts_are_sums() -> None:
    mask = np.random.default_rng(0).random((13, 17)) < 0.4
    table = integral(mask)
    boxes = np.array([(0, 0, 17, 13), (3, 2, 4, 3), (5, 5, 5, 9), (2, 1, 16, 12)])
    assert count_in(table, boxes).tolist() == [int(mask[b:d, a:c].sum()) for a, b, c, d in boxes]
    assert count_in(table, np.zeros((0, 4))).tolist() == []


def test_masks_are_the_union_of_instance_masks(tmp_path: Path) -> None:
    images = SmallSet(tmp_path, 3)
    for i in range(3):
        union = np.zeros(images.sizes[i][::-1], bool)
        for mask in images.masks[i]:
            union |= np.asarray(mask, bool)
        found = object_mask(images, i, "masks")
        assert np.array_equal(found, union)
        assert found.sum() < object_mask(images, i, "boxes").sum()
        assert not (found & ~object_mask(images, i, "boxes")).any()


class Masked(Boxed):
    """One 30 x 20 image with a polygon, an uncompressed RLE, a crowd;
    and a semantic mask if given."""

    given: np.ndarray | None = None

    def objects(self, index: int) -> Objects:
        plain = super().objects(index)
        return Objects(
            plain.boxes,
            plain.labels,
            plain.crowd,
            plain.difficult,
            plain.area,
            plain.ids,
            self.items,
        )

    def semantic(self, index: int) -> np.ndarray | None:
        return self.given


def masked() -> Masked:
    images = Masked(
        [(30, 20)], [[(2, 3, 10, 9), (20, 0, 25, 20), (0, 12, 30, 20)]], crowd=[(0, 2)]
    )
    column = np.zeros((20, 30), np.uint8)
    column[:, 20:25] = 1
    counts, last = [], 0
    for run in np.split(column.T.ravel(), np.flatnonzero(np.diff(column.T.ravel())) + 1):
        if run[0] != last:
            counts.append(0)
        counts.append(len(run))
        last = 1 - run[0]
    everything = coco.encode(np.asfortranarray(np.ones((20, 30), np.uint8)))
    images.items = [[[2, 3, 10, 3, 10, 9, 2, 9]], {"size": [20, 30], "counts": counts}, everything]  # type: ignore[attr-defined]
    return images


def test_polygons_and_runs_by_hand() -> None:
    expected = np.zeros((20, 30), bool)
    expected[3:9, 2:10] = True
    expected[:, 20:25] = True
    assert np.array_equal(object_mask(masked(), 0, "masks"), expected)


def test_a_semantic_mask_counts_classes_not_the_void_border() -> None:
    images = masked()
    images.given = np.zeros((20, 30), np.uint8)
    images.given[5:10, 5:10] = 255
    images.given[6:9, 6:9] = 17
    found = object_mask(images, 0, "masks")
    assert found.sum() == 9
    assert found[6:9, 6:9].all()


def test_without_masks_it_says_so() -> None:
    with pytest.raises(BadData, match="no masks for image 7; try: --objects boxes"):
        object_mask(Boxed([(9, 9)], [[]]), 0, "masks")


@pytest.mark.parametrize(("value", "counts"), [(0, False), (1, True), (254, True), (255, False)])
def test_every_class_of_a_semantic_mask_counts_from_the_first_to_the_last(
    value: int, counts: bool
) -> None:
    images = masked()
    images.given = np.full((20, 30), value, np.uint8)
    assert bool(object_mask(images, 0, "masks").all()) is counts
