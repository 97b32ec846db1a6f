"""Obj-Obj+Shift: one view from an object proposal, the other from the same box moved aside (paper
001)."""

from __future__ import annotations

import numpy as np

from bench.contracts.views import Box, Source
from bench.core.params import param
from bench.data.boxes import scaled_side
from methods.crops._paired import TRIES, PairedCrop, PairedParams, Size, shift

WINDOW = 224


class ObjObjShiftParams(PairedParams):
    """How far. The paper names the ranges 80-100 and 100-120 pixels and a sweet spot, but not
    where it is."""

    shift_min: float = param(
        80,
        ge=0,
        help="least distance of the centres in pixels, which `pixels` explains",
        search=[0, 40, 80, 100, 120],
    )
    shift_range: float = param(
        20, ge=0, help="width of the range of distances, in the same pixels", search=[0, 20, 40]
    )


class ObjObjShift(PairedCrop):
    """View 1: a random crop inside a proposal; view 2: a random crop inside a box of the same size
    at a distance U(shift_min, shift_min + shift_range) in a random direction, inside the image
    (paper 001, section 3 (c)). Where no direction fits, the box is moved back into the image.

    released_code uses no proposals: a window of 224 pixels at random, and a second one at distance
    x (cos a, sin b) with two independent angles, both only resized; two random crops of the image
    where 100 draws find no second one inside.
    """

    Params = ObjObjShiftParams
    params: ObjObjShiftParams

    def pair(
        self,
        image: int,
        box: Box,
        size: Size,
        scale: tuple[float, float] | None,
        rng: np.random.Generator,
    ) -> list[Source]:
        p = self.params
        near = scaled_side(p.shift_min, *size, p.pixels)
        far = scaled_side(p.shift_min + p.shift_range, *size, p.pixels)
        if p.mode == "released_code":
            return _windows(image, scaled_side(WINDOW, *size, p.pixels), near, far, size, rng)
        box = self.grown(box, size)
        moved = shift(box, near, far, size, rng)
        return [Source(image, box, "object", scale), Source(image, moved, "scene", scale)]


def _windows(
    image: int, side: float, near: float, far: float, size: Size, rng: np.random.Generator
) -> list[Source]:
    """Two windows of `side` pixels, or the whole image twice."""
    limit = np.array(size) - side
    if limit.min() < 0:
        return [Source(image)] * 2
    first = rng.uniform(0, limit)
    for _ in range(TRIES):
        a, b = rng.uniform(0, 2 * np.pi, 2)
        second = first + rng.uniform(near, far) * np.array([np.cos(a), np.sin(b)])
        if (second >= 0).all() and (second <= limit).all():
            boxes = [(*map(float, low), *map(float, low + side)) for low in (first, second)]
            return [Source(image, b, "object", (1.0, 1.0)) for b in boxes]  # type: ignore[arg-type]
    return [Source(image)] * 2
