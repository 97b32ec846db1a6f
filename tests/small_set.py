"""A handful of generated scenes as an ImageSet in memory, for tests that need pixels and boxes."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import cv2
import numpy as np

from bench.contracts.images import ImageSet, Objects
from bench.data.scenes import draw
from bench.data.scenes.classes import CLASSES


def draw_few(number: int) -> draw.Scene:
    """A scene of few and large objects: small networks learn it in seconds."""
    with mock.patch.multiple(draw, MORE_OBJECTS=2.4, SHARE=0.15):
        return draw.draw_scene(0, number)


class SmallSet(ImageSet):
    """`n` scenes of few objects (`draw_few`) written as PNG files; ids are 10, 20, ... as `order`
    has them."""

    def __init__(
        self, folder: Path, n: int, first: int = 0, order: list[int] | None = None
    ) -> None:
        self.name, self.split, self.classes = "small", "train", list(CLASSES)
        self.order = order or list(range(n))
        self.folder, self.first = folder, first
        scenes = [draw_few(first + i) for i in self.order]
        for at, scene in zip(self.order, scenes, strict=True):
            cv2.imwrite(str(folder / f"{first + at}.png"), scene.image[..., ::-1])
        self.ids = np.array([10 * (i + 1) for i in self.order])
        self.sizes = np.array([s.image.shape[1::-1] for s in scenes])
        self.labels = [s.labels for s in scenes]
        self.masks = [s.masks for s in scenes]

    def file(self, index: int) -> Path:
        return self.folder / f"{self.first + self.order[index]}.png"

    def objects(self, index: int) -> Objects:
        from pycocotools import mask as coco

        masks, n = self.masks[index], len(self.labels[index])
        rles = [coco.encode(np.asfortranarray(m.astype(np.uint8))) for m in masks]
        boxes = np.array([coco.toBbox(r) for r in rles], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        no = np.zeros(n, bool)
        area = np.array([float(m.sum()) for m in masks])
        segmentations = [{"size": list(r["size"]), "counts": r["counts"].decode()} for r in rles]
        return Objects(boxes, self.labels[index], no, no, area, np.arange(n), segmentations)
