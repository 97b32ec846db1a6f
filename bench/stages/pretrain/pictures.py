"""What a tracker shows of a pretraining before it begins."""

from __future__ import annotations

import cv2
import numpy as np

from bench.contracts.images import ImageSet
from bench.contracts.views import Sampler
from bench.core.picture import contact_sheet, draw_boxes
from bench.core.seeds import rng_for
from bench.views.sample import whole_pixels

SHOWN = 8  # samples
PANEL = 240  # pixels, the width of an image
COLUMNS = 4


def draw_sources(images: ImageSet, sampler: Sampler) -> np.ndarray:
    """(H, W, 3) uint8: the images of some samples, evenly over an epoch, with the boxes that their
    views come from."""
    shown: dict[int, list[tuple[float, ...]]] = {}
    for at in np.linspace(0, len(sampler) - 1, SHOWN).round().astype(int):
        for source in sampler.sources(int(at), rng_for(0, "crops picture", int(at))):
            shown.setdefault(source.image, []).append(
                whole_pixels(source.box, *map(int, images.sizes[source.image]))
            )
    panels = []
    for index, boxes in shown.items():
        photo = images.image(index)
        factor = PANEL / photo.shape[1]
        size = (PANEL, max(1, round(photo.shape[0] * factor)))
        panels.append(draw_boxes(cv2.resize(photo, size), np.array(boxes) * factor, width=2))
    return contact_sheet([panels[at : at + COLUMNS] for at in range(0, len(panels), COLUMNS)])
