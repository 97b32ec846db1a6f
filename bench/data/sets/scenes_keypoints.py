"""Generated scenes with five keypoints of every object, in the layout of COCO's keypoints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.contracts.images import ImageSet
from bench.data.index import IndexedImages
from bench.data.sets.scenes import Scenes as _Scenes

if TYPE_CHECKING:
    from bench.data.scenes.draw import Scene

KEYPOINTS = ("middle", "left_end", "right_end", "top", "bottom")


def extremes(mask: np.ndarray) -> list[float]:
    """x, y, visibility of the keypoints of a mask (H, W) bool: its centre of mass,
    its leftmost, rightmost, topmost and bottommost pixels (of several, their mean place);
    pixel indices, all visible."""
    y, x = np.nonzero(mask)
    places = [(x.mean(), y.mean())]
    places += [(x[x == end].mean(), y[x == end].mean()) for end in (x.min(), x.max())]
    places += [(x[y == end].mean(), y[y == end].mean()) for end in (y.min(), y.max())]
    return [float(v) for px, py in places for v in (px, py, 2)]


class ScenesKeypoints(_Scenes):
    """The scenes with one class, "object", and of every object the middle and the four extreme
    points of its visible part, so that keypoint tasks run without real data.
    `annotations/instances_*.json` has them.
    """

    categories: list[str] = ["object"]

    @classmethod
    def annotations(cls) -> frozenset[str]:
        return frozenset({"objects", "masks", "keypoints", "semantic"})

    def describe(self, scene: Scene, position: int) -> dict[str, Any]:
        points = extremes(scene.masks[position])
        return {"category_id": 1, "keypoints": points, "num_keypoints": len(points) // 3}

    def open_split(self, index: Path, root: Path, split: str) -> ImageSet:
        images = super().open_split(index, root, split)
        assert isinstance(images, IndexedImages)
        images.keypoint_names = KEYPOINTS
        return images
