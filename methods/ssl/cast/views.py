"""CAST's crops: random resized crops that must hold part of the salient region, and the masks that
follow."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from bench.contracts.views import Augment, Box, Sample, Source, ViewSpec
from bench.views.sample import random_resized_crop, whole_pixels
from methods.ssl.cast.saliency import Masks

RATIO = (3 / 4, 4 / 3)
AUGMENT = Augment(p_jitter=0.5, jitter=(0.4, 0.4, 0.4, 0.4), p_grey=0.2)


@dataclass(frozen=True)
class Salient:
    """The salient mask of a region: `mask` (h, w) bool covers `region` (xyxy, image pixels)
    evenly."""

    mask: np.ndarray
    region: Box

    def _cells(self, box: Box) -> tuple[int, int, int, int]:
        """`box` in rows and columns of the mask, rounded: first and last row, first and last
        column."""
        x1, y1, x2, y2 = self.region
        rows = [round((y - y1) * self.mask.shape[0] / (y2 - y1)) for y in (box[1], box[3])]
        columns = [round((x - x1) * self.mask.shape[1] / (x2 - x1)) for x in (box[0], box[2])]
        return rows[0], rows[1], columns[0], columns[1]

    def inside(self, box: Box) -> Salient:
        """The part of it in a box of the region, at least one mask pixel."""
        top, bottom, left, right = self._cells(box)
        top, left = min(top, self.mask.shape[0] - 1), min(left, self.mask.shape[1] - 1)
        return Salient(self.mask[top : max(bottom, top + 1), left : max(right, left + 1)], box)

    def cover(self, box: Box) -> float:
        """The share of the salient pixels that lie in `box`."""
        top, bottom, left, right = self._cells(box)
        return float(self.mask[top:bottom, left:right].sum() / self.mask.sum())

    def centre(self) -> tuple[float, float]:
        """x and y of the centroid, image pixels."""
        rows, columns = np.nonzero(self.mask)
        x1, y1, x2, y2 = self.region
        x = x1 + (columns.mean() + 0.5) * (x2 - x1) / self.mask.shape[1]
        return float(x), float(y1 + (rows.mean() + 0.5) * (y2 - y1) / self.mask.shape[0])

    def bounds(self) -> Box:
        """The bounding box, whole image pixels inside the region."""
        rows, columns = (np.flatnonzero(self.mask.any(axis)) for axis in (1, 0))
        x1, y1, x2, y2 = self.region
        across, down = (x2 - x1) / self.mask.shape[1], (y2 - y1) / self.mask.shape[0]
        low = (math.floor(x1 + columns[0] * across), math.floor(y1 + rows[0] * down))
        high = (math.ceil(x1 + (columns[-1] + 1) * across), math.ceil(y1 + (rows[-1] + 1) * down))
        return low[0], low[1], int(min(high[0], x2)), int(min(high[1], y2))

    def view(self, box: Box, size: int, flip: bool) -> np.ndarray:
        """(size, size) uint8: the mask as a view shows it, nearest mask pixel."""
        steps = (np.arange(size) + 0.5) / size
        x1, y1, x2, y2 = self.region
        at = []
        for low, high, start, end, count in (
            (y1, y2, box[1], box[3], self.mask.shape[0]),
            (x1, x2, box[0], box[2], self.mask.shape[1]),
        ):
            share = (start + steps * (end - start) - low) / (high - low)
            at.append(np.clip((share * count).astype(int), 0, count - 1))
        shown = self.mask[np.ix_(*at)].astype(np.uint8)
        return shown[:, ::-1] if flip else shown


def truncated_normal(mean: float, spread: float, low: float, high: float, u: float) -> float:
    """The `u` quantile (0 to 1) of the normal distribution cut to low..high."""
    if high <= low:
        return low
    normal = NormalDist(mean, spread)
    first, last = normal.cdf(low), normal.cdf(high)
    return (
        min(max(normal.inv_cdf(first + u * (last - first)), low), high) if last > first else mean
    )


def salient_crop(
    rng: np.random.Generator,
    salient: Salient,
    scale: tuple[float, float],
    least: float,
    tries: int = 10,
) -> Box:
    """A whole-pixel crop of the region that holds enough of the salient pixels (Selvaraju et al.
    2021).

    Area U(scale) of the region and aspect in 3/4..4/3 (log-uniform), as of a random resized crop;
    the centre is drawn from a normal distribution around the salient pixels' centroid, spread =
    the region's side, cut so that the crop stays inside. It must hold a share of the salient
    pixels of at least min(least, scale[0] x region area / salient area). After `tries` failures, a
    random box around the salient pixels' bounding box, its longer side shortened to the aspect
    limits.
    """
    x1, y1, x2, y2 = (int(v) for v in salient.region)
    width, height, centre = x2 - x1, y2 - y1, salient.centre()
    need = min(least, scale[0] / salient.mask.mean())
    for _ in range(tries):
        target = width * height * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        u, v = rng.random(2)
        w, h = round(math.sqrt(target * aspect)), round(math.sqrt(target / aspect))
        if not (0 < w <= width and 0 < h <= height):
            continue
        x = truncated_normal(centre[0], width, x1 + w / 2, x2 - w / 2, u) - w / 2
        y = truncated_normal(centre[1], height, y1 + h / 2, y2 - h / 2, v) - h / 2
        left, top = min(max(round(x), x1), x2 - w), min(max(round(y), y1), y2 - h)
        box = (left, top, left + w, top + h)
        if salient.cover(box) >= need:
            return box
    return _around(rng, salient)


def _around(rng: np.random.Generator, salient: Salient) -> Box:
    bounds, region, u = salient.bounds(), salient.region, rng.random(4)
    ends = [b + round(float(r) * (e - b)) for b, e, r in zip(bounds, region, u, strict=True)]
    x1, y1, x2, y2 = (int(v) for v in ends)
    if x2 - x1 > (y2 - y1) * RATIO[1]:
        x1, x2 = _shorten(x1, x2, int((y2 - y1) * RATIO[1]), int(bounds[2]))
    elif x2 - x1 < (y2 - y1) * RATIO[0]:
        y1, y2 = _shorten(y1, y2, int((x2 - x1) / RATIO[0]), int(bounds[3]))
    return x1, y1, x2, y2


def _shorten(low: int, high: int, length: int, keep: int) -> tuple[int, int]:
    """low..low + length, moved up to end at `keep` if it would end before."""
    length = max(length, 1)
    end = max(low + length, min(keep, high))
    return end - length, end


@dataclass(frozen=True)
class CastViews:
    """Two crops of their sources that hold part of what is salient there, each with a flip of its
    own.

    A source without a salient pixel gets a plain random resized crop. Multi-crop's small sources
    become "small1", ... without a constraint. `extra["salient"]`: (2, S, S) uint8, the salient
    pixels of view1 and view2, as cropped, resized and flipped.
    """

    masks: Masks
    sizes: np.ndarray
    size: int
    scale: tuple[float, float]
    augment: Augment
    cover: float

    def __call__(self, sources: list[Source], rng: np.random.Generator) -> Sample:
        pair = [s for s in sources if s.role == "view"][:2]
        cropped = [self._view(f"view{i + 1}", source, rng) for i, source in enumerate(pair)]
        small = [s for s in sources if s.role == "small"]
        views = [spec for spec, _ in cropped] + [
            self._plain(f"small{i + 1}", s) for i, s in enumerate(small)
        ]
        return Sample(views, {"salient": np.stack([mask for _, mask in cropped])})

    def _plain(self, role: str, source: Source) -> ViewSpec:
        size, scale = source.size or self.size, source.scale or self.scale
        return ViewSpec(
            role, source.image, source.box, size, self.augment, scale, kind=source.kind
        )

    def _view(
        self, role: str, source: Source, rng: np.random.Generator
    ) -> tuple[ViewSpec, np.ndarray]:
        width, height = (int(v) for v in self.sizes[source.image])
        region, scale = whole_pixels(source.box, width, height), source.scale or self.scale
        salient = Salient(self.masks.of(source.image), (0, 0, width, height)).inside(region)
        if salient.mask.any() and tuple(scale) != (1.0, 1.0):
            crop = salient_crop(rng, salient, scale, self.cover)
        else:
            crop = random_resized_crop(rng, region, scale, RATIO)
        flip = bool(rng.random() < 0.5)
        spec = replace(self._plain(role, source), box=crop, scale=None, flip=flip)
        return spec, salient.view(crop, spec.size, flip)
