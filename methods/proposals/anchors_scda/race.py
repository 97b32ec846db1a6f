"""SCDA scores of all anchors: our small matrix products against a mean per anchor."""

from __future__ import annotations

import numpy as np

from bench.measure.timing import Race
from methods.proposals.anchors_scda.scda import Anchors, make_anchors, naive_scores, pick_separate

FRAMES = ((224, 224), (480, 640))  # height, width of the network's input
STRIDE = 32  # of C5
SIZES, RATIOS = (32.0, 64.0, 128.0, 256.0), (0.5, 1.0, 2.0)
TOP, MAX_IOU = 5, 0.5


def races() -> list[Race]:
    """For each frame: the scores alone, with the choice of the best, and both for an image size
    seen for the first time, which our way makes tables for. The activation map, which both start
    from, is given."""
    return [race for height, width in FRAMES for race in _races(height, width)]


def _races(height: int, width: int) -> list[Race]:
    cells = (height // STRIDE, width // STRIDE)
    low = np.random.default_rng(0).random(cells)
    anchors = make_anchors(width, height, cells, SIZES, RATIOS)

    def fresh() -> Anchors:
        return make_anchors.__wrapped__(width, height, cells, SIZES, RATIOS)

    def plain() -> np.ndarray:
        return naive_scores(low, anchors.boxes, width, height)

    def chosen(scores: np.ndarray) -> np.ndarray:
        return pick_separate(anchors.boxes, scores, MAX_IOU, TOP)

    def difference() -> float:
        if not np.array_equal(chosen(anchors.scores(low)), chosen(plain())):
            return float("inf")
        return float(np.abs(anchors.scores(low) - plain()).max())

    what = f"{len(anchors.boxes)} anchors, {width}x{height}"
    return [
        Race(f"{what}: scores", lambda: anchors.scores(low), plain, difference, 1e-9),
        Race(
            f"{what}: scores, best {TOP}",
            lambda: chosen(anchors.scores(low)),
            lambda: chosen(plain()),
            difference,
            1e-9,
        ),
        Race(
            f"{what}: scores, best {TOP}, first image of a size",
            lambda: chosen(fresh().scores(low)),
            lambda: chosen(plain()),
            difference,
            1e-9,
        ),
    ]
