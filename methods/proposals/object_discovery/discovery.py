"""Object discovery's arithmetic: Hough matching of two images' regions, stand-out scores, the
final order."""

from __future__ import annotations

from functools import cache

import numpy as np

from bench.data.boxes import area, nms_in_order

# bins of the scale axis, over log2 of the area ratio in -OCTAVES .. OCTAVES
SCALES, OCTAVES = 20, 4.0
TAPS, SIGMA = 5, 5 / (4 * np.sqrt(2 * np.log(2)))  # smoothing of the Hough space, in bins
MAX_ASPECT = 2.0  # regions whose aspect ratios differ by this factor do not match
CONTAINED = 0.8  # share of a region that lies inside another one that contains it


def hough_confidence(
    similarity: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    size_a: tuple[float, float],
    size_b: tuple[float, float],
    cells: int,
) -> np.ndarray:
    """Confidence of each match of a region k of image A with a region l of B, (p, q) float64, >=
    0.

    C_kl = s_kl h(x_kl), h(x) = sum_k max_l { s_kl : x_kl = x }, smoothed. s: (p, q) appearance
    similarities, negative ones count as 0; a: (p, 4), b: (q, 4) xyxy pixels; sizes: width, height
    of the images. x_kl is
    the bin of the map that takes region k onto l: where it puts the centre of A in B (`cells` x
    `cells` bins over twice B's width and height, centred) and the log2 ratio of the areas (20 bins
    from -4 to 4), areas as shares of their images. In a bin each region of A votes once, with its
    best match. Smoothing is a Gaussian of 5 x 5 x 5 bins. Matches outside the bins or with aspect
    ratios apart by a factor of 2 or more get 0.

    Source: Cho et al. 2015, section 3; bins, vote and smoothing as in the PHM_lite of the code of
    Vo et al. 2019, which follows A's bottom right corner in pixels instead of its centre in shares
    of the image.
    """
    bin_of, valid = _bins(a, b, size_a, size_b, cells)
    votes = np.where(valid, np.maximum(similarity, 0.0), 0.0).astype(np.float64)
    rows, columns = np.nonzero(valid)
    if len(rows) == 0:
        return votes
    n_bins = cells * cells * SCALES
    key = rows * n_bins + bin_of[rows, columns]
    order = np.argsort(key, kind="stable")
    starts = np.flatnonzero(np.diff(key[order], prepend=-1))
    best = np.maximum.reduceat(votes[rows, columns][order], starts)
    space = np.bincount(key[order][starts] % n_bins, weights=best, minlength=n_bins)
    space = _smooth(space.reshape(cells, cells, SCALES)).ravel()
    return np.where(valid, votes * space[np.where(valid, bin_of, 0)], 0.0)


def _bins(
    a: np.ndarray,
    b: np.ndarray,
    size_a: tuple[float, float],
    size_b: tuple[float, float],
    cells: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The flat bin of every match (p, q) int64, and whether it has one."""
    centre_a, side_a = _relative(a, size_a)
    centre_b, side_b = _relative(b, size_b)
    stretch = side_b[None] / side_a[:, None]
    where = centre_b[None] + (0.5 - centre_a[:, None]) * stretch  # A's centre in B; both axes
    place = np.floor((where + 0.5) * (cells / 2)).astype(np.int64)
    scale = np.floor((np.log2(stretch.prod(-1)) + OCTAVES) * (SCALES / (2 * OCTAVES))).astype(
        np.int64
    )
    pixels = stretch * np.asarray(size_b) / np.asarray(size_a)
    aspect = pixels[..., 0] / pixels[..., 1]
    valid = ((place >= 0) & (place < cells)).all(-1) & (scale >= 0) & (scale < SCALES)
    valid &= (aspect < MAX_ASPECT) & (aspect > 1 / MAX_ASPECT)
    return (place[..., 1] * cells + place[..., 0]) * SCALES + scale, valid


def _relative(boxes: np.ndarray, size: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Centres and sides of boxes, (n, 2) each, as shares of the image's width and height."""
    boxes = np.asarray(boxes, np.float64)
    low, high = boxes[:, :2] / size, boxes[:, 2:] / size
    return (low + high) / 2, high - low


def _smooth(space: np.ndarray) -> np.ndarray:
    """A Gaussian of TAPS taps along every axis, zeros outside."""
    for axis, n in enumerate(space.shape):
        space = np.moveaxis(np.tensordot(_band(n), space, (1, axis)), 0, axis)
    return space


@cache
def _band(n: int) -> np.ndarray:
    """(n, n): the Gaussian as a matrix."""
    apart = np.subtract.outer(np.arange(n), np.arange(n))
    taps = np.arange(TAPS) - TAPS // 2
    weight = np.exp(-(apart**2) / (2 * SIGMA**2)) / np.exp(-(taps**2) / (2 * SIGMA**2)).sum()
    return np.where(np.abs(apart) <= TAPS // 2, weight, 0.0)


def containers(boxes: np.ndarray, area_ratio: float) -> np.ndarray:
    """(n, 4) xyxy -> (n, n) bool: does region c contain region k? [k, c] is true where area_k <
    `area_ratio` area_c and more than 0.8 of k lies in c (the code of Vo et al. 2019; ratio 0.5 on
    VOC)."""
    boxes = np.asarray(boxes, np.float64)
    sizes = area(boxes)
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = np.maximum(high - low, 0).prod(-1)
    larger = area_ratio * sizes[None] > sizes[:, None]
    return np.asarray(larger & (shared > CONTAINED * sizes[:, None]))


def stand_out(saliency: np.ndarray, contains: np.ndarray) -> np.ndarray:
    """Saliency (n,) less the greatest saliency of the regions that contain it (0 where none does).

    Source: Cho et al. 2015, section 4.1. contains: (n, n) of `containers`.
    """
    background = np.where(contains, saliency[None], 0.0).max(1, initial=0.0)
    return np.asarray(saliency - background)


def pair_stand_out(
    confidence: np.ndarray, contains_a: np.ndarray, contains_b: np.ndarray
) -> np.ndarray:
    """S_kl = max(0, C_kl - max { C_cd : c contains k, d contains l }), (p, q).

    Source: Vo et al. 2019, section 3.2. The second term is 0 where k or l is in no other region.
    """
    rows = _max_over(contains_a, confidence)
    return np.asarray(np.maximum(confidence - _max_over(contains_b, rows.T).T, 0.0))


def _max_over(contains: np.ndarray, values: np.ndarray) -> np.ndarray:
    """(n, n) bool, (n, m) >= 0 -> (n, m): the greatest value over the rows that contain row k,
    else 0."""
    return np.stack([values[row].max(0, initial=0.0) for row in contains])


def best_first(
    boxes: np.ndarray, score: np.ndarray, tie: np.ndarray, max_iou: float, least: int
) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the boxes by falling `score` (then `tie`, then position), less those that
    overlap a better one by more than `max_iou`, but `least` of them where there are as many; and
    their scores in 0..1, non-increasing: shares of the best positive score."""
    order = np.lexsort((np.arange(len(boxes)), -tie, -score))
    keep = nms_in_order(boxes[order], max_iou)
    rest = np.setdiff1d(np.arange(len(order)), keep)
    order = order[np.concatenate([keep, rest[: max(0, least - len(keep))]])]
    top = score.max(initial=0.0)
    share = np.maximum(score[order], 0.0) / top if top > 0 else np.zeros(len(order))
    return order, np.minimum.accumulate(share).astype(np.float32)
