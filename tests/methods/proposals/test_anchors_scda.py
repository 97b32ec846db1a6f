"""Anchors ranked by activations (paper 000, Our-Crop): map, anchors, scores, suppression, edge
cases."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torchvision import ops

from bench.nn.backbones import build_backbone
from bench.views.augment import normalise
from methods.proposals.anchors_scda.params import AnchorsScdaParams
from methods.proposals.anchors_scda.scda import (
    _enlargement,
    activation_map,
    make_anchors,
    naive_scores,
    pick_separate,
)
from methods.proposals.anchors_scda.scoring import best_anchors, feature_map, score_map

SIZES = (32.0, 64.0, 128.0, 256.0)
RATIOS = (0.5, 1.0, 2.0)


def params(**settings: Any) -> AnchorsScdaParams:
    return AnchorsScdaParams(**{"sizes": SIZES, "gamma": 0.0, "resize_short": None, **settings})


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(shape)


def test_the_map_is_the_channel_sum_scaled_to_one() -> None:
    features = np.array([[[1.0, 2.0], [0.0, 5.0]], [[0.0, 1.0], [1.0, 2.0]]])  # sums 1, 3, 1, 7
    assert activation_map(features).tolist() == [[0, 1 / 3], [0, 1]]
    assert activation_map(np.full((3, 2, 2), 4.0)).tolist() == [[0, 0], [0, 0]]  # constant: zeros


@pytest.mark.parametrize(
    ("cells", "length"), [(1, 5), (2, 7), (7, 224), (15, 480), (4, 3), (20, 20)]
)
def test_enlargement_is_torchs_bilinear(cells: int, length: int) -> None:
    row = noise(cells, seed=cells)
    theirs = F.interpolate(torch.from_numpy(row)[None, None, None], (1, length), mode="bilinear")[
        0, 0, 0
    ]
    np.testing.assert_allclose(_enlargement(cells, length) @ row, theirs.numpy(), atol=1e-12)


def test_anchors_by_hand() -> None:
    """One cell over 100 x 60 pixels, centre (50, 30): size 40, ratio 1 and 4 (80 x 20), and size
    80, ratio 1, cut at the top and bottom."""
    anchors = make_anchors(100, 60, (1, 1), (40.0, 80.0), (1.0, 4.0))
    assert anchors.boxes.tolist() == [
        [30, 10, 70, 50],
        [10, 20, 90, 40],
        [10, 0, 90, 60],
        [0, 10, 100, 50],
    ]
    assert anchors.size.tolist() == [0, 0, 1, 1]
    dropped = make_anchors(100, 60, (1, 1), (40.0, 80.0), (1.0, 4.0), "drop")
    assert dropped.boxes.tolist() == [[30, 10, 70, 50], [10, 20, 90, 40]]


def test_twelve_anchors_a_cell_at_its_centre() -> None:
    anchors = make_anchors(640, 480, (15, 20), SIZES, RATIOS)
    assert len(anchors.boxes) == 12 * 15 * 20
    inside = make_anchors(640, 480, (15, 20), SIZES, RATIOS, "drop").boxes
    assert 0 < len(inside) < len(anchors.boxes)
    centres = (inside[:, :2] + inside[:, 2:]) / 2
    assert np.abs((centres - 16) % 32).min() <= 0.5
    assert (np.minimum((centres - 16) % 32, 32 - (centres - 16) % 32) <= 0.5).all()
    w, h = (inside[:, 2:] - inside[:, :2]).T
    for size in SIZES:
        for ratio in RATIOS:
            like = (np.abs(w - size * ratio**0.5) <= 1) & (np.abs(h - size / ratio**0.5) <= 1)
            assert like.any() == (max(size * ratio**0.5 / 640, size / ratio**0.5 / 480) < 1)


def plain_scores(low: np.ndarray, boxes: np.ndarray, width: int, height: int) -> list[float]:
    """Every pixel of the enlarged map by bilinear interpolation, then a mean per box."""
    h, w = low.shape
    full = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            v = min(max((y + 0.5) * h / height - 0.5, 0), h - 1)
            u = min(max((x + 0.5) * w / width - 0.5, 0), w - 1)
            y0, x0 = int(v), int(u)
            y1, x1 = min(y0 + 1, h - 1), min(x0 + 1, w - 1)
            a, b = v - y0, u - x0
            full[y, x] = (
                (1 - a) * (1 - b) * low[y0, x0]
                + (1 - a) * b * low[y0, x1]
                + a * (1 - b) * low[y1, x0]
                + a * b * low[y1, x1]
            )
    return [float(full[int(y1) : int(y2), int(x1) : int(x2)].mean()) for x1, y1, x2, y2 in boxes]


@pytest.mark.parametrize("border", ["clip", "drop"])
@pytest.mark.parametrize(
    ("size", "cells"), [((96, 64), (4, 6)), ((50, 77), (3, 2)), ((33, 20), (1, 1))]
)
def test_scores_are_the_plain_means(
    size: tuple[int, int], cells: tuple[int, int], border: Any
) -> None:
    low = noise(*cells)
    anchors = make_anchors(*size, cells, (8.0, 16.0, 48.0), RATIOS, border)
    found = anchors.scores(low)
    assert len(found) == len(anchors.boxes)
    np.testing.assert_allclose(found, plain_scores(low, anchors.boxes, *size), atol=1e-12)
    np.testing.assert_allclose(found, naive_scores(low, anchors.boxes, *size), atol=1e-9)  # type: ignore[arg-type]


def test_scores_at_full_size_are_torchs() -> None:
    low = noise(15, 20)
    anchors = make_anchors(640, 480, (15, 20), SIZES, RATIOS)
    some = np.random.default_rng(1).choice(len(anchors.boxes), 60, replace=False)
    np.testing.assert_allclose(
        anchors.scores(low)[some], naive_scores(low, anchors.boxes[some], 640, 480), atol=1e-9
    )  # type: ignore[arg-type]


def plain_nms(
    boxes: Any, scores: Any, max_iou: float, top: int, groups: Any, quota: int | None
) -> list[int]:
    """Greedy suppression over pairs, without the code under test."""
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        full = quota is not None and sum(groups[k] == groups[i] for k in kept) >= quota
        overlaps = [
            float(ops.box_iou(torch.tensor(boxes[i : i + 1]), torch.tensor(boxes[k : k + 1])))
            for k in kept
        ]
        if len(kept) < top and not full and all(o <= max_iou for o in overlaps):
            kept.append(i)
    return kept


corner, side = st.integers(0, 30), st.integers(1, 25)
box = st.tuples(corner, corner, side, side).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))


@given(
    st.lists(st.tuples(box, st.integers(0, 4), st.integers(0, 2)), max_size=14),
    st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    st.integers(1, 6),
    st.sampled_from([None, 1, 2]),
)
@settings(max_examples=60, deadline=None)
def test_ranked_is_the_plain_loop(items: Any, max_iou: float, top: int, quota: int | None) -> None:
    boxes = np.array([b for b, _, _ in items], np.float64).reshape(-1, 4)
    scores, groups = (
        np.array([s for _, s, _ in items], float),
        np.array([g for _, _, g in items], int),
    )
    found = pick_separate(boxes, scores, max_iou, top, groups, quota)
    assert found.tolist() == plain_nms(boxes, scores, max_iou, top, groups, quota)


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.5, 0.7])
def test_ranked_is_torchvisions_nms(threshold: float) -> None:
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 80, (300, 2))
    boxes = np.concatenate([low, low + rng.uniform(5, 60, (300, 2))], 1)
    scores = rng.permutation(300).astype(float)
    theirs = ops.nms(torch.from_numpy(boxes), torch.from_numpy(scores), threshold).tolist()
    assert pick_separate(boxes, scores, threshold, 1000).tolist() == theirs
    assert pick_separate(boxes, scores, threshold, 5).tolist() == theirs[:5]


def test_the_best_box_lies_where_the_map_is_high() -> None:
    low = np.zeros((15, 20))
    low[3:5, 14:16] = 1  # pixels 448..512 x 96..160
    (x1, y1, x2, y2), *_ = best_anchors(low, (480, 640), (480, 640), params())[0]
    assert 448 <= (x1 + x2) / 2 <= 512
    assert 96 <= (y1 + y2) / 2 <= 160


def test_gamma_weighs_a_score_by_its_area() -> None:
    low = activation_map(noise(1, 15, 20))
    boxes, scores = best_anchors(
        low, (480, 640), (480, 640), params(gamma=0.5, nms_iou=1.0, top=10_000)
    )
    sides = boxes[:, 2:] - boxes[:, :2]
    some = slice(None, None, 97)
    expected = np.array(naive_scores(low, boxes[some], 640, 480)) * np.sqrt(
        sides.prod(1)[some] / (640 * 480)
    )  # type: ignore[arg-type]
    np.testing.assert_allclose(scores[some], expected, rtol=1e-5)
    assert (np.diff(scores) <= 0).all()
    literal = best_anchors(low, (480, 640), (480, 640), params())[0]
    assert (boxes[:5, 2:] - boxes[:5, :2]).mean() > (literal[:5, 2:] - literal[:5, :2]).mean()


def test_the_quota_limits_boxes_of_one_size() -> None:
    low = activation_map(noise(1, 15, 20))
    boxes, _ = best_anchors(
        low, (480, 640), (480, 640), params(per_size_quota=2, border="drop", top=100)
    )
    root = np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(1))
    sizes = np.array(SIZES)[np.abs(root[:, None] - np.array(SIZES)).argmin(1)]
    assert max(np.unique(sizes, return_counts=True)[1]) <= 2


def test_the_literal_recipe_prefers_the_smallest_anchor() -> None:
    """A window's mean is at most the largest mean of its parts (METHODS 2.3's warning); other
    settings have no say."""
    low = activation_map(noise(1, 15, 20))
    asked = params(
        recipe="literal", gamma=0.5, resize_short=224, per_size_quota=1, level="c3", border="drop"
    )
    boxes, scores = best_anchors(low, (480, 640), (480, 640), asked)
    assert (np.sqrt((boxes[:5, 2:] - boxes[:5, :2]).prod(1)).round() <= 33).all()
    np.testing.assert_allclose(scores[:3], naive_scores(low, boxes[:3], 640, 480), rtol=1e-5)  # type: ignore[arg-type]


def test_boxes_come_back_in_the_images_frame() -> None:
    low = activation_map(noise(1, 7, 7))
    small = best_anchors(low, (224, 224), (224, 224), params(resize_short=224))[0]
    large = best_anchors(low, (448, 896), (224, 224), params(resize_short=224))[0]
    np.testing.assert_allclose(large, small * [4, 2, 4, 2])


@pytest.mark.parametrize(
    ("low", "shape", "settings"),
    [
        (np.zeros((7, 7)), (480, 640), {}),  # a constant map ranks nothing
        (noise(1, 4), (20, 100), {"recipe": "literal"}),  # smaller than the smallest anchor
        (noise(2, 1), (31, 20), {"recipe": "literal"}),
        # none inside
        (noise(2, 2), (60, 60), {"sizes": (200.0,), "border": "drop", "resize_short": 64}),
    ],
)
def test_what_cannot_be_ranked_gives_the_image(low: np.ndarray, shape: Any, settings: Any) -> None:
    frame = (max(32, shape[0]), max(32, shape[1]))
    boxes, scores = best_anchors(low, shape, frame, params(**settings))
    assert boxes.tolist() == [[0, 0, shape[1], shape[0]]]
    assert scores.tolist() == [0]


def test_fewer_survivors_than_asked_for_are_what_there_is() -> None:
    boxes, _ = best_anchors(
        noise(2, 2), (64, 64), (64, 64), params(recipe="literal", nms_iou=0.0, top=50)
    )
    assert 1 <= len(boxes) < 10
    overlaps = ops.box_iou(torch.from_numpy(boxes), torch.from_numpy(boxes)) - torch.eye(
        len(boxes)
    )
    assert float(overlaps.max()) <= 0


@pytest.fixture(scope="module")
def backbone() -> Any:
    torch.manual_seed(0)
    return build_backbone("resnet18").eval()


@pytest.mark.parametrize(
    ("level", "stride", "width"), [("c2", 4, 64), ("c3", 8, 128), ("c4", 16, 256), ("c5", 32, 512)]
)
def test_every_backbone_stage_has_its_map(
    backbone: Any, level: str, stride: int, width: int
) -> None:
    with torch.no_grad():
        found = feature_map(backbone, torch.randn(1, 3, 64, 96), level)
    assert found.shape == (1, width, 64 // stride, 96 // stride)


def test_the_score_map_is_the_networks(backbone: Any) -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    low, frame = score_map(backbone, image, params())
    assert frame == (64, 96)
    with torch.no_grad():
        pixels = normalise(torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255)
        total = backbone.maps(pixels)[0].double().sum(0)
    expected = (total - total.min()) / (total.max() - total.min())
    np.testing.assert_allclose(low, expected.numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "settings", "frame"),
    [
        ((100, 200), {"resize_short": 224}, (224, 448)),
        ((300, 100), {"resize_short": 64}, (192, 64)),
        ((100, 200), {"max_side": 50}, (32, 50)),
        ((9, 1), {}, (32, 32)),
        ((1, 100), {"resize_short": 64}, (32, 2048)),
        ((2500, 10), {}, (2500, 32)),
        ((100, 200), {"resize_short": 224, "recipe": "literal"}, (100, 200)),
    ],
)
def test_the_networks_input(backbone: Any, shape: Any, settings: Any, frame: Any) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    low, found = score_map(backbone, image, params(**{**settings, "level": "c4"}))
    assert found == frame
    boxes, _ = best_anchors(low, shape, found, params(**settings))
    assert len(boxes) >= 1
    assert boxes.min() >= 0
    assert (boxes[:, 2:] <= [shape[1], shape[0]]).all()
