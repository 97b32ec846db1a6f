"""SoCo's three views, and the boxes in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.contracts.views import Augment, Box, Sample, Source, ViewSpec
from bench.views.boxes import to_view
from bench.views.sample import BYOL_1, BYOL_2, random_resized_crop, whole_pixels
from methods.ssl.soco.boxes import draw, inside, jitter, pad, usable_boxes
from methods.ssl.soco.params import SocoParams

if TYPE_CHECKING:
    from bench.stages.proposals import ProposalTable


@dataclass(frozen=True)
class SocoViews:
    """Three views and the boxes in them. "view1" is the whole source squeezed to a square, "view2"
    a random resized crop of the second source, "view3" one at half the size.

    `extra["boxes"]`: (4, K, 4) float32 xyxy, pixels of view1 and view2 (for that pair), then of
    view1 and view3, after crop, resize and flip. `extra["ids"]`: (4, K) int64, equal where the
    proposal is.
    """

    params: SocoParams
    table: ProposalTable
    ids: np.ndarray
    sizes: np.ndarray

    def __call__(self, sources: list[Source], rng: np.random.Generator) -> Sample:
        p = self.params
        first, second = [s for s in sources if s.role == "view"][:2]
        region, home = self._region(first), self._region(second)
        proposals = self._proposals(first, region)
        if first.image != second.image:
            proposals = proposals[:0]
        crops, picks = self._crops(proposals, home, second.scale or (p.min_scale, 1.0), rng)
        large = (first.size or p.image_size, second.size or p.image_size)
        flips = rng.random(3) < 0.5
        pairs: list[tuple[np.ndarray, np.ndarray]] = []
        for at, (crop, pick) in enumerate(zip(crops, picks, strict=True)):
            sizes = (large[0], large[1] // (1, 2)[at])
            pairs += self._pair(pick, (region, crop), sizes, (flips[0], flips[at + 1]), rng)
        views = [
            _spec("view1", first, region, large[0], BYOL_1, flips[0]),
            _spec("view2", second, crops[0], large[1], BYOL_2, flips[1]),
            _spec("view3", second, crops[1], large[1] // 2, BYOL_2, flips[2]),
        ]
        boxes, ids = (np.stack(part) for part in zip(*pairs, strict=True))
        return Sample(views, {"boxes": boxes.astype(np.float32), "ids": ids})

    def _region(self, source: Source) -> Box:
        width, height = (int(v) for v in self.sizes[source.image])
        return whole_pixels(source.box, width, height)

    def _proposals(self, source: Source, region: Box) -> np.ndarray:
        p, boxes = self.params, self.table.boxes(int(self.ids[source.image]))
        return usable_boxes(
            inside(boxes, region), region, p.min_side, p.max_ratio, p.share, p.pixels
        )

    def _crops(
        self,
        proposals: np.ndarray,
        home: Box,
        scale: tuple[float, float],
        rng: np.random.Generator,
    ) -> tuple[list[Box], list[np.ndarray]]:
        """Crops of views 2 and 3, drawn again while too few proposals meet them, and the boxes of
        each."""
        p, need = self.params, max(self.params.boxes // 2, 1)
        crops: list[Box] = []
        picks: list[np.ndarray] = []
        for _ in range(p.tries):
            crops = [random_resized_crop(rng, home, scale)]
            crops.append(
                crops[0] if p.v3 == "downsampled" else random_resized_crop(rng, home, scale)
            )
            picks = [draw(proposals, crops[0], p.boxes, rng)]
            picks.append(
                picks[0] if p.v3 == "downsampled" else draw(proposals, crops[1], p.boxes, rng)
            )
            if min(map(len, picks)) >= need:
                break
            need = max(need // 2, 1)
        return crops, picks

    def _pair(
        self,
        pick: np.ndarray,
        crops: tuple[Box, Box],
        sizes: tuple[int, int],
        flips: tuple[bool, bool],
        rng: np.random.Generator,
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Boxes and ids of view 1 and of the other view; without any proposal the whole of both
        views."""
        p = self.params
        if len(pick):
            both = [jitter(pick, crops[0], p.jitter_p, p.jitter, rng), pick]
        else:
            both = [np.array([c], np.float64) for c in crops]
        parts = zip(both, crops, sizes, flips, strict=True)
        return [
            pad(to_view(b, crop, size, bool(flip)), p.boxes, rng) for b, crop, size, flip in parts
        ]


def _spec(
    role: str, source: Source, crop: Box, size: int, augment: Augment, flip: bool
) -> ViewSpec:
    return ViewSpec(role, source.image, crop, size, augment, flip=bool(flip), kind=source.kind)
