"""Boxes of an image in the frame of a view of it."""

from __future__ import annotations

import numpy as np

from bench.contracts.views import Box


def to_view(boxes: np.ndarray, crop: Box, size: int, flip: bool) -> np.ndarray:
    """(n, 4) xyxy boxes of the image in the pixels of a view of side `size` that shows `crop`: cut
    to the view, then mirrored if `flip`; float64. A box outside the crop becomes empty."""
    corner, sides = np.array(crop[:2] * 2, np.float64), np.array(crop[2:] * 2, np.float64)
    moved = np.clip((boxes - corner) * (size / (sides - corner)), 0, size)
    return (
        np.stack([size - moved[:, 2], moved[:, 1], size - moved[:, 0], moved[:, 3]], 1)
        if flip
        else moved
    )
