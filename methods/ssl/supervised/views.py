"""The view of supervised pretraining, and which classes it is labelled with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.contracts.views import Augment, Box, Sample, Source, ViewSpec

if TYPE_CHECKING:
    from bench.contracts.images import ImageSet, Objects


@dataclass(frozen=True)
class LabelledView:
    """A random resized crop of the first source with a flip, and the source's classes as extra
    "present" (classes,). As on ImageNet the label is the source's even where the random crop
    misses the object."""

    images: ImageSet
    size: int
    scale: tuple[float, float]
    min_visible: float

    def __call__(self, sources: list[Source], rng: np.random.Generator) -> Sample:
        s = sources[0]
        scale = s.scale or self.scale
        view = ViewSpec("view1", s.image, s.box, self.size, Augment(), scale, kind=s.kind)
        objects = self.images.objects(s.image)
        labels = objects_present(objects, s.box, len(self.images.classes), self.min_visible)
        return Sample([view], {"present": labels})


def objects_present(
    objects: Objects, box: Box | None, classes: int, min_visible: float
) -> np.ndarray:
    """(classes,) float32, 1 for each class with an object of which at least `min_visible` of the
    (bounding box's) area lies in `box` (xyxy pixels; None: the whole image, so every object
    counts)."""
    present = np.zeros(classes, np.float32)
    keep = np.ones(len(objects.labels), bool)
    if box is not None and len(keep):
        boxes = objects.boxes.astype(np.float64)
        low = np.maximum(boxes[:, :2], box[:2])
        inside = np.clip(np.minimum(boxes[:, 2:], box[2:]) - low, 0, None).prod(1)
        keep = inside >= min_visible * (boxes[:, 2:] - boxes[:, :2]).prod(1)
    present[objects.labels[keep]] = 1
    return present
