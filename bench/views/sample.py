"""Drawing a view's randomness in the loader's workers:
where to crop, and the photometric parameters."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np

from bench.contracts.views import Augment, Box, ViewSpec

# METHODS' recipes: (brightness, contrast, saturation, hue) and probabilities as the papers' code
# has them.
BYOL_1 = Augment(p_jitter=0.8, jitter=(0.4, 0.4, 0.2, 0.1), p_grey=0.2, p_blur=1.0)
BYOL_2 = Augment(p_jitter=0.8, jitter=(0.4, 0.4, 0.2, 0.1), p_grey=0.2, p_blur=0.1, p_solarize=0.2)
MOCO_V2 = Augment(p_jitter=0.8, jitter=(0.4, 0.4, 0.4, 0.1), p_grey=0.2, p_blur=0.5)
SIMCLR = Augment(p_jitter=0.8, jitter=(0.8, 0.8, 0.8, 0.2), p_grey=0.2, p_blur=0.5)
SWAV = SIMCLR
NONE = Augment(p_flip=0.0)

FIELDS = (
    "flip",
    "jitter",
    "order",
    "brightness",
    "contrast",
    "saturation",
    "hue",
    "grey",
    "sigma",
    "solarize",
    "blur_first",
)
"""A view's parameter vector. flip, jitter, grey: 0 or 1. order: row of ORDERS. brightness,
contrast,
saturation: factors. hue: shift in turns, -0.5 to 0.5. sigma: blur in pixels of this view, 0 =
none.
solarize: threshold 0-255, 256 = none. blur_first: 1 where blur comes before jitter and grey."""

ORDERS = tuple(permutations(range(4)))
"""Orders of the jitter's four operations (0 brightness, 1 contrast, 2 saturation, 3 hue)."""


def random_resized_crop(
    rng: np.random.Generator,
    box: Box,
    scale: tuple[float, float],
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Box:
    """A whole-pixel crop inside `box` (xyxy, whole pixels), as torchvision's RandomResizedCrop
    draws it: ten tries of area U(scale) x area(box) and log-uniform aspect, then the central crop
    nearest `ratio`. `scale` (1, 1) means no random crop: the box itself (paper 000, Table 15)."""
    if tuple(scale) == (1.0, 1.0):
        return box
    left, top = box[0], box[1]
    width, height = round(box[2] - box[0]), round(box[3] - box[1])
    for _ in range(10):
        target = width * height * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(target * aspect)), round(math.sqrt(target / aspect))
        if 0 < w <= width and 0 < h <= height:
            y, x = int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1))
            return left + x, top + y, left + x + w, top + y + h
    w, h = width, height
    if width / height < ratio[0]:
        h = round(width / ratio[0])
    elif width / height > ratio[1]:
        w = round(height * ratio[1])
    x, y = (width - w) // 2, (height - h) // 2
    return left + x, top + y, left + x + w, top + y + h


def whole_pixels(box: Box | None, width: int, height: int) -> Box:
    """The box clipped to the image and rounded to whole pixels, at least 1 x 1, always inside:
    edges are rounded half to even, then an empty side grows by one pixel to the right or, at the
    border, to the left. None is the whole image."""
    if box is None:
        return 0, 0, width, height
    x1, y1, x2, y2 = (round(float(v)) for v in box)
    x1, x2 = _side(x1, x2, width)
    y1, y2 = _side(y1, y2, height)
    return x1, y1, x2, y2


def _side(low: int, high: int, length: int) -> tuple[int, int]:
    low, high = min(max(low, 0), length), min(max(high, 0), length)
    if high <= low:
        low = min(low, length - 1)
        high = low + 1
    return low, high


def choose_crop(spec: ViewSpec, width: int, height: int, rng: np.random.Generator) -> Box:
    """The pixels a view shows: `spec.box`, or a random resized crop inside it."""
    box = whole_pixels(spec.box, width, height)
    return box if spec.scale is None else random_resized_crop(rng, box, spec.scale, spec.ratio)


def photometric(spec: ViewSpec, rng: np.random.Generator) -> np.ndarray:
    """(len(FIELDS),) float32 drawn from `spec.augment`;
    the number of draws does not depend on outcomes."""
    a = spec.augment
    u = rng.random(5)
    b, c, s, h = a.jitter
    strengths = rng.uniform(-1, 1, 4) * (b, c, s, h) + (1, 1, 1, 0)
    order = int(rng.integers(len(ORDERS)))
    sigma = rng.uniform(*a.blur_sigma) * (spec.blur_size or spec.size) / 224
    flip = float(u[0] < a.p_flip) if spec.flip is None else float(spec.flip)
    factors = np.maximum(strengths[:3], 0)
    return np.array(
        [
            flip,
            u[1] < a.p_jitter,
            order,
            *factors,
            strengths[3],
            u[2] < a.p_grey,
            sigma if u[3] < a.p_blur else 0.0,
            a.solarize_threshold if u[4] < a.p_solarize else 256.0,
            a.blur_first,
        ],
        np.float32,
    )
