"""Random boxes and annotated boxes: distribution, order, seeds, edges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.contracts.context import StageContext
from bench.contracts.registry import load
from bench.core.params import Runtime
from bench.core.stage import Stage
from tests.methods.crops.sets import Boxed

RANDOM: Any = load("proposals", "random_boxes")
TRUTH: Any = load("proposals", "ground_truth")


def random(shape: tuple[int, int], seed: int = 0, **settings: object) -> Any:
    return RANDOM(RANDOM.Params(**settings)).propose(np.zeros((*shape, 3), np.uint8), seed)


@pytest.mark.parametrize("factor", [1, 0.5, 2])
def test_sides_and_ratios_are_log_uniform_over_the_anchors_range(factor: float) -> None:
    """In an image so large that no side is cut: areas 32^2 to 256^2 at a short side of 480."""
    boxes, scores = random((int(480 * factor), int(4000 * factor)), top=4000)
    w, h = (boxes[:, 2:] - boxes[:, :2]).T.astype(np.float64)
    side, ratio = np.log2(np.sqrt(w * h) / factor), np.log2(w / h)
    assert side.min() >= 5 - 1e-4
    assert side.max() <= 8 + 1e-4
    assert np.histogram(side, 6, (5, 8))[0].min() > 560
    assert np.abs(ratio).max() <= 1 + 1e-3
    assert np.histogram(ratio, 4, (-1, 1))[0].min() > 850
    assert scores[0] == 1
    assert scores[-1] == 0


def test_boxes_lie_uniformly_inside() -> None:
    boxes, _ = random((480, 640), top=4000)
    assert boxes.min() >= 0
    assert (boxes[:, 2:] <= [640, 480]).all()
    room = np.array([640, 480]) - (boxes[:, 2:] - boxes[:, :2])
    where = boxes[:, :2] / room
    for axis in (0, 1):
        assert np.histogram(where[:, axis], 5, (0, 1))[0].min() > 700


def test_the_seed_alone_decides() -> None:
    assert np.array_equal(random((480, 640), 3)[0], random((480, 640), 3)[0])
    assert not np.array_equal(random((480, 640), 3)[0], random((480, 640), 4)[0])


@pytest.mark.parametrize("shape", [(1, 1), (1, 60), (60, 1), (7, 5)])
def test_tiny_images(shape: tuple[int, int]) -> None:
    boxes, scores = random(shape, top=7)
    assert len(boxes) == len(scores) == 7
    assert (boxes[:, 2:] - boxes[:, :2] > 0.99).all()
    assert boxes.min() >= 0
    assert (boxes[:, 2:] <= [shape[1], shape[0]]).all()


def test_annotated_boxes_come_in_a_seeded_order_without_crowds(tmp_path: Path) -> None:
    """Difficult objects are objects here: a proposer is to find them."""
    objects = [[(i, 0, i + 5, 5) for i in range(8)], []]
    images = Boxed([(60, 40)] * 2, objects, crowd=[(0, 2)], difficult=[(0, 4)])
    stage = Stage("proposals", "ground_truth", 1, {}, "")
    context = StageContext(stage, tmp_path, {}, Runtime(home=tmp_path, database=""))
    proposer = TRUTH(TRUTH.Params()).prepare(context, images)
    boxes, scores = proposer(0, 5)
    assert sorted(map(tuple, boxes.tolist())) == [o for i, o in enumerate(objects[0]) if i != 2]
    assert scores.tolist() == [1] * 7
    assert np.array_equal(proposer(0, 5)[0], boxes)
    assert any(not np.array_equal(proposer(0, s)[0], boxes) for s in range(5))
    empty, none = proposer(1, 5)
    assert (empty.shape, none.shape) == ((0, 4), (0,))
    assert TRUTH.supervised
