"""Box arithmetic against torchvision, plain loops and invariants."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision import ops

from bench.data.boxes import (
    area,
    clip,
    iou,
    nms_in_order,
    scaled_side,
    xywh_to_xyxy,
)

corner = st.integers(0, 60)
side = st.integers(0, 40)
box = st.tuples(corner, corner, side, side).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))
solid = box.map(lambda b: (b[0], b[1], b[2] + 1, b[3] + 1))
boxes = st.lists(box, max_size=12).map(lambda b: np.array(b, np.float64).reshape(-1, 4))
solids = st.lists(solid, min_size=1, max_size=25).map(
    lambda b: np.array(b, np.float64).reshape(-1, 4)
)


def random_boxes(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 80, (n, 2))
    return np.concatenate([low, low + rng.uniform(1, 60, (n, 2))], 1)


@given(solids, solids)
def test_iou_is_torchvisions(a: np.ndarray, b: np.ndarray) -> None:
    theirs = ops.box_iou(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    np.testing.assert_allclose(iou(a, b), theirs, atol=1e-12)


def test_iou_by_hand() -> None:
    a = np.array([[0, 0, 10, 10], [5, 5, 5, 5]], np.float32)
    b = np.array([[5, 0, 15, 10], [0, 0, 10, 10], [10, 0, 20, 10], [5, 5, 5, 5]], np.float32)
    np.testing.assert_allclose(iou(a, b), [[1 / 3, 1, 0, 0], [0, 0, 0, 0]])


@given(boxes, boxes)
def test_iou_is_symmetric_finite_and_at_most_one(a: np.ndarray, b: np.ndarray) -> None:
    found = iou(a, b)
    assert found.shape == (len(a), len(b))
    assert np.array_equal(found, iou(b, a).T)
    assert np.isfinite(found).all()
    assert ((found >= 0) & (found <= 1)).all()


@given(boxes)
def test_area_is_torchvisions(a: np.ndarray) -> None:
    assert np.array_equal(area(a), ops.box_area(torch.from_numpy(a)).numpy())


def test_an_inverted_box_has_no_area() -> None:
    assert area(np.array([[5.0, 5, 2, 2]])).tolist() == [0]


@given(boxes, st.integers(1, 80), st.integers(1, 80))
def test_clip_is_torchvisions_and_stays_inside(a: np.ndarray, width: int, height: int) -> None:
    found = clip(a, width, height)
    theirs = ops.clip_boxes_to_image(torch.from_numpy(a), (height, width)).numpy()
    assert np.array_equal(found, theirs)
    assert np.array_equal(clip(found, width, height), found)
    assert (area(found) <= area(a)).all()


def test_clip_of_a_box_outside_is_empty() -> None:
    found = clip(np.array([[-9, -9, -2, -2], [70, 5, 90, 9]], np.float32), 60, 40)
    assert area(found).tolist() == [0, 0]
    assert found.dtype == np.float32


@given(boxes)
def test_the_conversion_is_torchvisions(a: np.ndarray) -> None:
    assert np.array_equal(
        xywh_to_xyxy(a), ops.box_convert(torch.from_numpy(a), "xywh", "xyxy").numpy()
    )


def plain_nms(a: np.ndarray, threshold: float) -> list[int]:
    """A loop over pairs, written without the code under test."""
    kept: list[int] = []
    for i, (x1, y1, x2, y2) in enumerate(a):
        worst = 0.0
        for k in kept:
            u1, v1, u2, v2 = a[k]
            inter = max(0, min(x2, u2) - max(x1, u1)) * max(0, min(y2, v2) - max(y1, v1))
            union = (x2 - x1) * (y2 - y1) + (u2 - u1) * (v2 - v1) - inter
            worst = max(worst, inter / union)
        if worst <= threshold:
            kept.append(i)
    return kept


@given(solids, st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]))
def test_nms_in_order_is_the_plain_loop(a: np.ndarray, threshold: float) -> None:
    assert nms_in_order(a, threshold).tolist() == plain_nms(a, threshold)


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.5, 0.8])
def test_nms_in_order_is_torchvisions_on_descending_scores(threshold: float) -> None:
    a = random_boxes(200)
    scores = torch.linspace(1, 0, 200, dtype=torch.float64)
    theirs = ops.nms(torch.from_numpy(a), scores, threshold).tolist()
    ours = nms_in_order(a, threshold)
    assert ours.tolist() == theirs
    assert 1 < len(ours) < 200


def test_nms_limit_keeps_the_first() -> None:
    a = random_boxes(100)
    whole = nms_in_order(a, 0.4)
    assert nms_in_order(a, 0.4, 5).tolist() == whole[:5].tolist()
    assert nms_in_order(a, 0.4, 10_000).tolist() == whole.tolist()
    assert nms_in_order(np.zeros((0, 4)), 0.4).tolist() == []


@given(solids, st.floats(0, 1))
def test_nms_keeps_the_first_and_no_overlapping_pair(a: np.ndarray, threshold: float) -> None:
    kept = nms_in_order(a, threshold)
    assert kept[0] == 0
    assert (np.diff(kept) > 0).all()
    pairs = iou(a[kept], a[kept]) - np.eye(len(kept))
    assert (pairs <= threshold).all()


def test_a_threshold_follows_the_short_side_480_is_as_published() -> None:
    assert scaled_side(96, 640, 480) == scaled_side(96, 480, 640) == 96
    assert scaled_side(96, 640, 240) == scaled_side(96, 240, 640) == 48
    assert scaled_side(12, 960, 1000) == 24
    for size in ((640, 480), (640, 240), (960, 1000)):
        assert scaled_side(96, *size, "absolute") == 96


def test_iou_does_not_depend_on_the_unit() -> None:
    """Boxes in fractions of an image, whose areas are far below 1, as well as in pixels."""
    a, b = random_boxes(20), random_boxes(20, seed=1)
    assert (iou(a, b) > 0.1).any()
    for unit in (1e-3, 1e4):
        np.testing.assert_allclose(iou(a * unit, b * unit), iou(a, b), atol=1e-9)
