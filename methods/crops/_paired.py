"""Paired crops (paper 001): the two views of an image come from two different boxes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from bench.contracts.crop import Crop
from bench.contracts.images import ImageSet
from bench.contracts.views import Box, Sampler, Source
from bench.core.params import Params, param
from bench.core.ragged import Ragged, offsets
from bench.data.boxes import PixelRule, area, scaled_side

if TYPE_CHECKING:
    from bench.contracts.planner import Planner
    from bench.core.stage import Stage

TRIES = 100
Size = tuple[int, int]  # width, height


class PairedParams(Params):
    """Defaults: paper 001 on COCO (section 3 and appendix G)."""

    proposals: str = param(
        "bing",
        help="source of boxes; the paper's BING was trained on VOC boxes, so it is supervised",
    )
    n_crops: int = param(
        10, ge=1, help="boxes of an image, one of which is drawn", search=[1, 3, 5, 10]
    )
    min_size: float = param(
        224,
        ge=0,
        help="a smaller side grows to this around the box's centre; in pixels, which `pixels` "
        "explains",
    )
    pixels: PixelRule = param(
        "absolute",
        help="absolute: min_size and distances are in pixels of the image itself (the authors' "
        "code); scaled: pixels at a short side of 480, which follow the image, as at tiny and "
        "small",
    )
    s_min: float | None = param(
        0.2,
        gt=0,
        le=1,
        help="least area of a view, fraction of the image: inside boxes the random crop's "
        "lower limit is s_min / (mean relative area of the boxes); none: the method's own range",
    )
    two_heads: bool = param(True, help="a projection head for object views and one for the others")
    mode: Literal["paper", "released_code"] = param(
        "paper",
        help="released_code: a sample per box, one head, no s_min rule, sides < 224 grow by 224",
    )


@dataclass(frozen=True)
class PairedSampler:
    """An image is a sample (in the released code: a box); its views' order is drawn with
    probability 1/2. table: the proposals of each image (n, 4) xyxy, n >= 1, not yet grown; sizes:
    (N, 2), width and height of the images."""

    crop: PairedCrop
    table: Ragged
    sizes: np.ndarray
    scale: tuple[float, float] | None

    def __len__(self) -> int:
        per_box = self.crop.params.mode == "released_code"
        return len(self.table.values) if per_box else len(self.table)

    def sources(self, index: int, rng: np.random.Generator) -> list[Source]:
        if self.crop.params.mode == "released_code":
            image, row = self.table.owner(index), index
        else:
            image = index
            row = int(rng.integers(self.table.first[image], self.table.first[image + 1]))
        x1, y1, x2, y2 = (float(v) for v in self.table.values[row])
        size = (int(self.sizes[image, 0]), int(self.sizes[image, 1]))
        pair = self.crop.pair(image, (x1, y1, x2, y2), size, self.scale, rng)
        return pair if rng.random() < 0.5 else pair[::-1]


class PairedCrop(Crop):
    """The base of paired crops: a subclass says which two sources a box gives.

    An image without boxes of positive area is its own box. A box of any smaller size, one below 2
    pixels too, grows by the minimum-size rule; with `min_size` 0 it stays, and a view shows at
    least one pixel.
    """

    style = "paired"
    Params = PairedParams
    params: PairedParams
    scales = {"tiny": {"pixels": "scaled"}, "small": {"pixels": "scaled"}}
    kinds_differ: bool = True

    def stages(self, plan: Planner, data: Stage) -> dict[str, Stage]:
        return {"regions": plan.proposals(self.params.proposals, data)}

    def heads(self) -> int:
        return (
            2 if self.kinds_differ and self.params.two_heads and self.params.mode == "paper" else 1
        )

    def sampler(self, images: ImageSet, inputs: dict[str, Path]) -> Sampler:
        from bench.stages.proposals import load_proposals

        p, table = self.params, load_proposals(inputs["regions"])
        kept, shares = [], []
        for image, (width, height) in zip(images.ids, images.sizes, strict=True):
            size = (int(width), int(height))
            boxes = table.boxes(int(image))
            boxes = boxes[area(boxes) > 0][: p.n_crops]
            if len(boxes) == 0:
                boxes = np.array([[0, 0, *size]])
            kept.append(boxes)
            grown = at_least(boxes, scaled_side(p.min_size, *size, p.pixels), size)
            shares.append(area(grown) / (size[0] * size[1]))
        scale = None
        if p.s_min is not None and p.mode == "paper" and shares:
            scale = (min(1.0, p.s_min / float(np.concatenate(shares).mean())), 1.0)
            scale = (min(scale[0], 0.999), 1.0)  # (1, 1) would mean no random crop
        boxes = np.concatenate(kept).astype(np.float32) if kept else np.zeros((0, 4), np.float32)
        rows = Ragged(boxes, offsets(map(len, kept)))
        return PairedSampler(self, rows, np.asarray(images.sizes), scale)

    def grown(self, box: Box, size: Size) -> Box:
        """The box after the minimum-size rule."""
        side = scaled_side(self.params.min_size, *size, self.params.pixels)
        x1, y1, x2, y2 = (
            float(v) for v in at_least(np.array([box]), side, size, self.params.mode)[0]
        )
        return x1, y1, x2, y2

    def dilated(self, box: Box, delta: float, size: Size) -> Box:
        """The box grown, then dilated, so that it holds the grown one; released_code: dilated,
        then grown."""
        if self.params.mode == "released_code":
            return self.grown(dilate(box, delta, size, "released_code"), size)
        return dilate(self.grown(box, size), delta, size)

    def pair(
        self,
        image: int,
        box: Box,
        size: Size,
        scale: tuple[float, float] | None,
        rng: np.random.Generator,
    ) -> list[Source]:
        """The two sources of a proposal; `scale` is the s_min rule's area range for views inside
        boxes."""
        raise NotImplementedError


def at_least(boxes: np.ndarray, side: float, size: Size, mode: str = "paper") -> np.ndarray:
    """The minimum-size rule (appendix G): a side below `side` becomes `side` around the box's
    centre, moved and cut to lie inside the image. (n, 4) -> (n, 4) float64.

    released_code, for width and height alike: a side below `side` has its start moved back by side
    / 2, or, where that leaves the image, becomes (0, side); then its end moved on by side / 2, or,
    where that leaves the image, its start put `side` before its end. So it has w + side, w + side
    / 2 or `side`. Clipped.
    """
    boxes = np.asarray(boxes, np.float64)
    if mode == "released_code":
        ends = [[_released(b[i], b[i + 2], side, size[i]) for i in (0, 1)] for b in boxes]
        return np.array(ends, np.float64).reshape(-1, 2, 2).transpose(0, 2, 1).reshape(-1, 4)
    sides = np.minimum(np.maximum(boxes[:, 2:] - boxes[:, :2], side), size)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    low = np.clip(centre - sides / 2, 0, np.array(size) - sides)
    return np.concatenate([low, low + sides], 1)


def _released(low: float, high: float, side: float, length: int) -> tuple[float, float]:
    if high - low < side:
        low, high = (low - side / 2, high) if low - side / 2 > 0 else (0, side)
        low, high = (low, high + side / 2) if high + side / 2 < length else (high - side, high)
    return max(low, 0.0), min(high, float(length))


def dilate(box: Box, delta: float, size: Size, mode: str = "paper") -> Box:
    """Each side moved out by delta x the image's size, clipped. released_code: by delta x its own
    coordinate (truncated to whole pixels), so the left and top sides of a box near the origin
    hardly move; not clipped, as the minimum-size rule comes after it."""
    x1, y1, x2, y2 = box
    if mode == "released_code":
        left, top, right, bottom = (int(v * delta) for v in box)
        return x1 - left, y1 - top, x2 + right, y2 + bottom
    w, h = size
    x, y = delta * w, delta * h
    return max(x1 - x, 0.0), max(y1 - y, 0.0), min(x2 + x, float(w)), min(y2 + y, float(h))


def shift(box: Box, near: float, far: float, size: Size, rng: np.random.Generator) -> Box:
    """The box moved by a distance U(near, far) pixels in a random direction, inside the image.
    Directions and distances are drawn up to 100 times; then the last one is moved back into the
    image."""
    x1, y1, x2, y2 = box
    angle = rng.uniform(0, 2 * np.pi, TRIES)
    distance = rng.uniform(near, far, TRIES)
    x, y = x1 + distance * np.cos(angle), y1 + distance * np.sin(angle)
    limit_x, limit_y = size[0] - (x2 - x1), size[1] - (y2 - y1)
    inside = (x >= 0) & (x <= limit_x) & (y >= 0) & (y <= limit_y)
    at = int(inside.argmax()) if inside.any() else TRIES - 1
    left, top = float(np.clip(x[at], 0, limit_x)), float(np.clip(y[at], 0, limit_y))
    return left, top, left + x2 - x1, top + y2 - y1
