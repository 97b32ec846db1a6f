"""Pseudo-image crops: every box is a sample of its own, and both views come from inside it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.contracts.crop import Crop
from bench.contracts.images import ImageSet
from bench.contracts.views import Sampler, Source
from bench.core.params import Params, param
from bench.core.ragged import offsets
from bench.data.boxes import clip

if TYPE_CHECKING:
    from bench.contracts.planner import Planner
    from bench.core.stage import Stage

LEAST = 2  # pixels; a narrower or lower box shows nothing and is left out


class PseudoParams(Params):
    """What every pseudo-image crop has."""

    iterations_matched: bool = param(
        False,
        help="true: as many samples an epoch as images, each a crop drawn anew, for a comparison "
        "with equally many gradient steps; false: every crop once an epoch (paper 000)",
    )
    random_crop: bool = param(
        True,
        help="false: a crop is only resized, not randomly cropped again (paper 000, Table 15)",
    )


class TopParams(PseudoParams):
    """Crops that take the first boxes of a ranked list."""

    n_crops: int = param(5, ge=1, help="crops an image, at most", search=[1, 3, 5, 7])


@dataclass(frozen=True)
class BoxSamples:
    """Samples from boxes grouped by image: sample s shows boxes[s] of images[s]; first (N + 1,)
    delimits the images. With `matched`, sample i draws one crop of the i-th image that has any."""

    images: np.ndarray
    boxes: np.ndarray
    first: np.ndarray
    owners: np.ndarray  # images that have any
    matched: bool
    random_crop: bool

    def __len__(self) -> int:
        return len(self.first) - 1 if self.matched and len(self.boxes) else len(self.boxes)

    def sources(self, index: int, rng: np.random.Generator) -> list[Source]:
        if self.matched:
            owner = self.owners[index % len(self.owners)]
            index = int(rng.integers(self.first[owner], self.first[owner + 1]))
        x1, y1, x2, y2 = (float(v) for v in self.boxes[index])
        scale = None if self.random_crop else (1.0, 1.0)
        return [Source(int(self.images[index]), (x1, y1, x2, y2), scale=scale)] * 2


class PseudoCrop(Crop):
    """The base of pseudo-image crops: a subclass says which boxes an image has."""

    style = "pseudo"
    Params = PseudoParams
    params: PseudoParams
    scales = {"tiny": {"iterations_matched": True}}  # every strategy takes as many steps

    def all_boxes(self, images: ImageSet, inputs: dict[str, Path]) -> Iterable[np.ndarray]:
        """Per image its crops, (n, 4) xyxy absolute pixels, n may be 0: such an image gives no
        sample."""
        raise NotImplementedError

    def with_every_region(self) -> PseudoCrop:
        if not self.params.iterations_matched:
            return self
        return type(self)(self.params.model_copy(update={"iterations_matched": False}))

    def sampler(self, images: ImageSet, inputs: dict[str, Path]) -> Sampler:
        boxes_of = [
            usable_boxes(boxes, int(width), int(height))
            for boxes, (width, height) in zip(
                self.all_boxes(images, inputs), images.sizes, strict=True
            )
        ]
        counts = [len(boxes) for boxes in boxes_of]
        return BoxSamples(
            np.repeat(np.arange(len(images)), counts),
            np.concatenate(boxes_of) if boxes_of else np.zeros((0, 4), np.float32),
            offsets(counts),
            np.flatnonzero(counts),
            self.params.iterations_matched,
            self.params.random_crop,
        )


def usable_boxes(boxes: np.ndarray, width: int, height: int) -> np.ndarray:
    """The boxes (n, 4) on whole pixels (half to even) inside the image, float32, less those
    narrower or lower than 2 pixels; where the image itself is 1 pixel wide or high, its crops may
    be as well."""
    whole = clip(np.rint(np.asarray(boxes, np.float64).reshape(-1, 4)), width, height).astype(
        np.float32
    )
    least = np.minimum(LEAST, (width, height))
    return whole[(whole[:, 2:] - whole[:, :2] >= least).all(1)]


class ProposalCrop(PseudoCrop):
    """The first `n_crops` boxes of a proposal generator that have 2 pixels each way; an image
    without any is one crop, the whole of it, and one with fewer gives those."""

    Params = TopParams
    params: TopParams
    source: str  # the generator's name

    def stages(self, plan: Planner, data: Stage) -> dict[str, Stage]:
        return {"regions": plan.proposals(self.source, data)}

    def all_boxes(self, images: ImageSet, inputs: dict[str, Path]) -> Iterable[np.ndarray]:
        from bench.stages.proposals import load_proposals

        table = load_proposals(inputs["regions"])
        for image, (width, height) in zip(images.ids, images.sizes, strict=True):
            boxes = usable_boxes(table.boxes(int(image)), int(width), int(height))
            whole = np.array([[0, 0, width, height]], np.float32)
            yield boxes[: self.params.n_crops] if len(boxes) else whole
