"""BING's parts without learning: normed gradients, window sizes, filter responses, suppression,
ranking."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from bench.contracts.images import ImageSet
from bench.contracts.proposals import Found, scale_back, shrink
from bench.data.boxes import scaled_side

W = 8  # cells along a window's side; the template has W x W weights
NSS = 2  # a kept window suppresses those within 2 cells
EXPONENTS = range(4, 10)  # window sides are 2^4 .. 2^9 pixels, each with each: 36 sizes
# (36, 2): width, height
SIZES = np.array([(2.0**w, 2.0**h) for h in EXPONENTS for w in EXPONENTS])
LEAST = 4.0  # narrower windows, pixels, say nothing about an image


def normed_gradient(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8, H and W at least 3 -> (H, W) uint8: min(|gx| + |gy|, 255).

    |gx| = max over channels of |I(x + 1) - I(x - 1)|, on the border twice the one-sided
    difference; |gy| likewise (Cheng et al. 2014, section 3.1 and released code). cv2.add saturates
    at 255, which is the min.
    """
    return np.asarray(cv2.add(_differences(image), _differences(image.transpose(1, 0, 2)).T))


def _differences(image: np.ndarray) -> np.ndarray:
    steps = np.empty(image.shape[:2], np.uint8)
    a, b = np.ascontiguousarray(image[:, 2:]), np.ascontiguousarray(image[:, :-2])
    steps[:, 1:-1] = cv2.absdiff(a, b).reshape(*a.shape[:2], 3).max(axis=2)
    for edge, inner in ((0, 1), (-1, -2)):
        step = np.abs(image[:, edge].astype(np.int16) - image[:, inner]).max(axis=1)
        steps[:, edge] = np.minimum(2 * step, 255)
    return steps


def window_sizes(width: int, height: int, scaled: bool) -> tuple[np.ndarray, np.ndarray]:
    """Positions in `SIZES` of the windows that an image of width x height is searched for, (n,),
    and their widths and heights in pixels, (n, 2).

    `scaled`: sides are times min(1, short side / 480). Windows with a side of more than twice the
    image's are left out (released code), longer ones are cut to the image; so are windows narrower
    than 4 pixels.
    """
    image = np.array([width, height], np.float64)
    sides = SIZES * (min(1.0, scaled_side(1, width, height)) if scaled else 1.0)
    cut = np.minimum(sides, image)
    (use,) = np.nonzero((sides <= 2 * image).all(axis=1) & (cut >= LEAST).all(axis=1))
    return use, cut[use]


def gradient_map(image: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Normed gradients (h, w) of the image resized so that a window of `size` = (width, height)
    pixels covers W x W of them; h, w >= W."""
    height, width = image.shape[:2]
    shape = (max(W, round(W * width / size[0])), max(W, round(W * height / size[1])))
    return normed_gradient(cv2.resize(image, shape, interpolation=cv2.INTER_LINEAR))


def responses(gradients: np.ndarray, template: np.ndarray) -> np.ndarray:
    """(h, w), (W, W) -> (h - W + 1, w - W + 1) float32: sum of template x gradients per window."""
    full = cv2.filter2D(
        gradients,
        cv2.CV_32F,
        np.ascontiguousarray(template, np.float32),
        anchor=(0, 0),
        borderType=cv2.BORDER_CONSTANT,
    )
    return np.asarray(full[: len(gradients) - W + 1, : gradients.shape[1] - W + 1])


def suppress(response: np.ndarray, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns, best first, of at most `limit` windows: in descending order of response
    (of equal ones the first in reading order), a window is kept unless a kept one is within NSS
    cells both ways.

    A kept window takes (2 NSS + 1)^2 cells at most, so only that many times `limit` can matter. A
    window that is the best left of its neighbourhood is kept whatever happens elsewhere: all those
    at once.
    """
    flat = response.ravel()
    most = limit * (2 * NSS + 1) ** 2
    candidates = np.arange(flat.size)
    if flat.size > most:
        (candidates,) = np.nonzero(flat >= np.partition(flat, flat.size - most)[flat.size - most])
    candidates = candidates[np.argsort(-flat[candidates], kind="stable")][:most]
    rank = np.zeros(flat.size, np.float32)  # exact up to 2^24 windows
    rank[candidates] = np.arange(len(candidates), 0, -1, dtype=np.float32)
    alive = rank.reshape(response.shape)
    around = np.ones((2 * NSS + 1, 2 * NSS + 1), np.uint8)
    ranks: list[int] = []
    best_left = len(candidates)
    while best_left and not (len(ranks) >= limit and sorted(ranks)[-limit] > best_left):
        kept = (alive > 0) & (alive == cv2.dilate(alive, around))
        ranks += alive[kept].astype(np.int64).tolist()
        alive[cv2.dilate(kept.astype(np.uint8), around) > 0] = 0
        best_left = int(alive.max())
    order = len(candidates) - np.sort(np.array(ranks, np.int64))[::-1][:limit]
    rows, columns = np.unravel_index(candidates[order], response.shape)
    return rows, columns


def window_boxes(
    rows: np.ndarray, columns: np.ndarray, shape: tuple[int, ...], image: tuple[int, ...]
) -> np.ndarray:
    """xyxy pixels (n, 4) float64 of windows at cells (row, column) of a gradient map of `shape`
    (h, w) of an image (height, width); never outside it."""
    cell = np.array([image[1] / shape[1], image[0] / shape[0]] * 2)
    return np.asarray(np.stack([columns, rows, columns + W, rows + W], axis=1) * cell)


@dataclass(frozen=True)
class BingModel:
    """A trained BING: o = v s + t, where s is the template's response and (v, t) belong to the
    window size.

    template: (W, W) float32. used: (36,) bool, the sizes searched. calibration: (36, 2) float64, v
    and t.
    """

    template: np.ndarray
    used: np.ndarray
    calibration: np.ndarray
    per_size: int
    scaled: bool

    @classmethod
    def empty(cls, per_size: int, scaled: bool) -> BingModel:
        """Settings without learned parts."""
        none = np.zeros(len(SIZES))
        return cls(
            np.zeros((W, W), np.float32), none > 0, np.zeros((len(SIZES), 2)), per_size, scaled
        )

    def windows(self, image: np.ndarray) -> list[tuple[int, np.ndarray, np.ndarray]]:
        """For each size searched: its position in `SIZES`, boxes (n, 4) float64, responses (n,)
        float32, after suppression, best first."""
        windows = []
        height, width = image.shape[:2]
        for at, size in zip(*window_sizes(width, height, self.scaled), strict=True):
            if self.used[at]:
                gradients = gradient_map(image, size)
                response = responses(gradients, self.template)
                rows, columns = suppress(response, self.per_size)
                boxes = window_boxes(rows, columns, gradients.shape, image.shape)
                windows.append((int(at), boxes, response[rows, columns]))
        return windows

    def propose(self, image: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
        """(H, W, 3) uint8 -> at most `top` distinct boxes (n, 4) float32 and o (n,) float32, best
        first. An image that no window fits gives itself, with score 0."""
        windows = self.windows(image)
        if not windows:
            return np.array([[0, 0, image.shape[1], image.shape[0]]], np.float32), np.zeros(
                1, np.float32
            )
        boxes = np.concatenate([b for _, b, _ in windows]).astype(np.float32)
        scores = np.concatenate(
            [self.calibration[at, 0] * s + self.calibration[at, 1] for at, _, s in windows]
        )
        order = np.argsort(-scores, kind="stable")
        _, first = np.unique(boxes[order], axis=0, return_index=True)
        order = order[np.sort(first)][:top]
        return boxes[order], scores[order].astype(np.float32)

    def save(self, file: Path) -> None:
        """Write all of it to `file` (.npz)."""
        np.savez(
            file,
            template=self.template,
            used=self.used,
            calibration=self.calibration,
            per_size=self.per_size,
            scaled=self.scaled,
        )

    @classmethod
    def load(cls, file: Path) -> BingModel:
        """What `save` wrote."""
        with np.load(file) as a:
            return cls(
                a["template"], a["used"], a["calibration"], int(a["per_size"]), bool(a["scaled"])
            )


@dataclass(frozen=True)
class TrainedProposer:
    """Image number i of `images` -> at most `top` boxes of the model, best first."""

    images: ImageSet
    model: BingModel
    max_side: int | None
    top: int

    def __call__(self, index: int, seed: int) -> Found:
        image = self.images.image(index)
        small, factor = shrink(image, self.max_side)
        boxes, scores = self.model.propose(small, self.top)
        return scale_back(boxes, factor, image.shape[:2]), scores
