"""ORL's views: two of the image, and two pairs of RoI patches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bench.contracts.views import Augment, Box, Sample, Source, ViewSpec
from bench.views.sample import BYOL_1, BYOL_2
from methods.ssl.orl.boxes import jitter_box
from methods.ssl.orl.correspondences import Correspondences
from methods.ssl.orl.params import OrlParams


@dataclass(frozen=True)
class OrlViews:
    """Six views of an image: two global ones, an RoI and its jitter, and two corresponding RoIs.

    The global views are random crops of the crop's two sources, whose own scale and size win;
    multi-crop's small ones follow as "small1", ... . RoI patches are cropped as they are, then
    augmented as global views.
    """

    params: OrlParams
    correspondences: Correspondences
    sizes: np.ndarray

    def __call__(self, sources: list[Source], rng: np.random.Generator) -> Sample:
        p = self.params
        first, second = [s for s in sources if s.role == "view"][:2]
        small = [s for s in sources if s.role == "small"]
        image = first.image
        k = int(rng.integers(self.correspondences.neighbours.shape[1]))
        other = int(self.correspondences.neighbours[image, k])
        pairs = self.correspondences.pairs(image, k)
        mine, theirs = pairs[rng.integers(len(pairs))]
        boxes = self.correspondences.boxes(image)
        roi = _box(boxes[rng.integers(len(boxes))])
        width, height = (int(v) for v in self.sizes[image])
        moved = jitter_box(roi, (width, height), rng, p.jitter_iou_min, p.jitter_aspect)
        return Sample(
            [
                self._global("view1", first, BYOL_1),
                self._global("view2", second, BYOL_2),
                ViewSpec("ipatch1", image, roi, p.patch, BYOL_1, kind="object"),
                ViewSpec("ipatch2", image, moved, p.patch, BYOL_2, kind="object"),
                ViewSpec("kpatch1", image, _box(boxes[mine]), p.patch, BYOL_1, kind="object"),
                ViewSpec(
                    "kpatch2",
                    other,
                    _box(self.correspondences.boxes(other)[theirs]),
                    p.patch,
                    BYOL_2,
                    kind="object",
                ),
                *(
                    self._global(f"small{i + 1}", s, (BYOL_1, BYOL_2)[i % 2])
                    for i, s in enumerate(small)
                ),
            ]
        )

    def _global(self, role: str, s: Source, augment: Augment) -> ViewSpec:
        scale = s.scale or (self.params.min_scale, 1.0)
        return ViewSpec(
            role, s.image, s.box, s.size or self.params.image_size, augment, scale, kind=s.kind
        )


def _box(row: np.ndarray) -> Box:
    return float(row[0]), float(row[1]), float(row[2]), float(row[3])
