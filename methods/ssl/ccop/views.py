"""CCOP's views: two crops of an image, and the RoIs that both of them show."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.contracts.views import Augment, Box, Sample, Source, ViewSpec
from bench.core.errors import BadInput
from bench.core.ragged import Ragged
from bench.data.boxes import area
from bench.views.boxes import to_view
from bench.views.sample import MOCO_V2, random_resized_crop, whole_pixels

if TYPE_CHECKING:
    from bench.contracts.images import ImageSet


AUGMENTS: dict[str, tuple[Augment, float]] = {  # recipe, least area of a view
    "moco_v2": (MOCO_V2, 0.2),
    "code_torchvision": (
        Augment(p_jitter=0.8, jitter=(0.4, 0.4, 0.2, 0.1), p_grey=0.2, p_blur=0.5),
        0.1,
    ),
}


def load_rois(folder: Path, images: ImageSet) -> Ragged:
    """The committed stage's RoIs; `images` must be the very split that it was made from."""
    with np.load(folder / "rois.npz") as file:
        if not np.array_equal(file["ids"], images.ids):
            raise BadInput(
                f"{folder} was made from other images than {images.name}/{images.split}; use "
                "--force"
            )
        return Ragged(file["boxes"], file["first"])


def visible_share(boxes: np.ndarray, crop: Box) -> np.ndarray:
    """(n, 4) xyxy -> (n,): the fraction of each box's area inside `crop`."""
    inside = np.concatenate(
        [np.maximum(boxes[:, :2], crop[:2]), np.minimum(boxes[:, 2:], crop[2:])], 1
    )
    return area(inside) / area(boxes)


@dataclass(frozen=True)
class CcopViews:
    """Two random resized crops with independent flips, and the RoIs that both show.

    A crop is drawn up to `tries` times until it shows more than `part` of some RoI. Common RoIs
    show more than `part` of their area and cover more than 144 pixels (of 224 x 224) in both
    views; there may be none. Which source is the query ("view1") is drawn. Multi-crop's small
    sources become "small1", ... . `extra`: "boxes" (2, top, 4) float32 xyxy in view1's and view2's
    pixels, as cropped, resized and flipped; "box_count", the rows in use.
    """

    rois: Ragged  # (m, 4) float32 xyxy of each image, m >= 0
    sizes: np.ndarray
    size: int
    scale: tuple[float, float]
    augment: Augment
    top: int
    part: float = 0.6
    least_area: float = 144.0
    tries: int = 10

    def __call__(self, sources: list[Source], rng: np.random.Generator) -> Sample:
        pair = [s for s in sources if s.role == "view"][:2]
        if rng.random() < 0.5:
            pair.reverse()
        specs = [self._view(f"view{i + 1}", source, rng) for i, source in enumerate(pair)]
        small = [s for s in sources if s.role == "small"]
        views = specs + [self._plain(f"small{i + 1}", source) for i, source in enumerate(small)]
        common = self._common(specs) if specs[0].image == specs[1].image else np.zeros((2, 0, 4))
        boxes = np.zeros((2, self.top, 4), np.float32)
        boxes[:, : common.shape[1]] = common
        return Sample(views, {"boxes": boxes, "box_count": np.array(common.shape[1])})

    def _plain(self, role: str, source: Source) -> ViewSpec:
        size, scale = source.size or self.size, source.scale or self.scale
        return ViewSpec(
            role, source.image, source.box, size, self.augment, scale, kind=source.kind
        )

    def _view(self, role: str, source: Source, rng: np.random.Generator) -> ViewSpec:
        width, height = (int(v) for v in self.sizes[source.image])
        region = whole_pixels(source.box, width, height)
        boxes, scale = self.rois[source.image], source.scale or self.scale
        for _ in range(self.tries):
            crop = random_resized_crop(rng, region, scale)
            if len(boxes) == 0 or (visible_share(boxes, crop) > self.part).any():
                break
        flip = bool(rng.random() < 0.5)
        return replace(self._plain(role, source), box=crop, scale=None, flip=flip)

    def _common(self, specs: list[ViewSpec]) -> np.ndarray:
        """(2, m, 4) RoIs in both views, m <= top."""
        boxes = self.rois[specs[0].image].astype(np.float64)
        keep, moved = np.ones(len(boxes), bool), []
        for spec in specs:
            assert spec.box is not None
            moved.append(to_view(boxes, spec.box, spec.size, bool(spec.flip)))
            enough = area(moved[-1]) > self.least_area * (spec.size / 224) ** 2
            keep &= enough & (visible_share(boxes, spec.box) > self.part)
        return np.stack(moved)[:, keep][:, : self.top]
