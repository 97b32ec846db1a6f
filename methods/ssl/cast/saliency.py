"""Salient regions of images, without annotations or training: maps, masks, and the stage that
keeps them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from bench.contracts.context import StageContext
from bench.contracts.images import ImageSet
from bench.contracts.proposals import shrink
from bench.core.errors import BadInput
from bench.core.files import write_json
from bench.core.processes import parallel
from bench.core.ragged import offsets

BORDER = 0.05  # width of the border strips, fraction of the shorter side


def boundary_contrast(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB -> (H, W) float64 >= 0: how unlike its image's border each pixel's
    colour is.

    u_k(x) = Mahalanobis distance in CIE Lab of pixel x from the colours of border strip k (top,
    bottom, left, right), over its maximum; the map is the sum of the four less the largest, so
    that one strip that an object covers does no harm. Source: the image boundary contrast of MB+
    (Zhang et al. 2015), here after a blur of 2 pixels.
    """
    import cv2

    smooth = cv2.GaussianBlur(image, (0, 0), 2).astype(np.float32) / 255
    lab = cv2.cvtColor(smooth, cv2.COLOR_RGB2LAB).astype(np.float64)
    width = max(1, round(min(lab.shape[:2]) * BORDER))
    distances = []
    for strip in (lab[:width], lab[-width:], lab[:, :width], lab[:, -width:]):
        colours = strip.reshape(-1, 3)
        spread = np.cov(colours.T) + 2 * np.eye(3)  # a plain strip has no spread of its own
        off = lab - colours.mean(0)
        distance = np.sqrt(np.einsum("hwi,ij,hwj->hw", off, np.linalg.inv(spread), off))
        distances.append(distance / max(distance.max(), 1e-12))
    return np.sum(distances, 0) - np.max(distances, 0)


def opencv_map(image: np.ndarray, kind: str) -> np.ndarray:
    """OpenCV's "spectral_residual" (Hou and Zhang 2007) or "fine_grained" (Montabone and Soto
    2010)."""
    import cv2

    makers = {
        "spectral_residual": cv2.saliency.StaticSaliencySpectralResidual_create,  # type: ignore[attr-defined]
        "fine_grained": cv2.saliency.StaticSaliencyFineGrained_create,  # type: ignore[attr-defined]
    }
    return np.asarray(makers[kind]().computeSaliency(image[..., ::-1].copy())[1], np.float64)


def saliency_map(image: np.ndarray, kind: str) -> np.ndarray:
    """(H, W, 3) uint8 -> (H, W) float64, larger is more salient: "boundary" or one of
    `opencv_map`."""
    return boundary_contrast(image) if kind == "boundary" else opencv_map(image, kind)


def salient_mask(values: np.ndarray) -> np.ndarray:
    """(H, W) bool: above Otsu's threshold (1979) of the map on 256 levels; all False for a flat
    map."""
    import cv2

    low, span = values.min(), np.ptp(values)
    if not span > 1e-9:
        return np.zeros(values.shape, bool)
    levels = np.round((values - low) * (255 / span)).astype(np.uint8)
    threshold, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_OTSU)
    return levels > threshold


def find_masks(ctx: StageContext) -> None:
    """The stage: leaves `ids.npy` (N,), `shapes.npy` (N, 2) height and width, and `masks.bin`, the
    masks one after another, a byte 0 or 1 for a pixel of the image shrunk to `max_side`."""
    images, p = ctx.images("data", str(ctx.params["split"])), ctx.params
    job = partial(_mask, images, str(p["map"]), int(p["max_side"]))
    advance = ctx.progress.task("saliency", len(images))
    shapes = []
    with open(ctx.work / "masks.bin", "wb") as file:
        for mask in parallel(job, range(len(images)), ctx.runtime.workers, 16):
            file.write(mask.astype(np.uint8).tobytes())
            shapes.append(mask.shape)
            advance(1)
    np.save(ctx.work / "ids.npy", np.asarray(images.ids))
    np.save(ctx.work / "shapes.npy", np.array(shapes, np.int64))
    share = np.memmap(ctx.work / "masks.bin", np.uint8, "r").mean()
    write_json(
        ctx.work / "info.json",
        {
            "images": len(images),
            "map": p["map"],
            "in_place_of": "DeepUSPS",
            "salient": float(share),
        },
    )


def _mask(images: ImageSet, kind: str, max_side: int, index: int) -> np.ndarray:
    return salient_mask(saliency_map(shrink(images.image(index), max_side)[0], kind))


@dataclass(frozen=True)
class Masks:
    """The salient masks of a set by position, on a coarser grid than the images; picklable."""

    file: Path
    shapes: np.ndarray
    first: np.ndarray

    def of(self, image: int) -> np.ndarray:
        """(h, w) bool."""
        start, (height, width) = int(self.first[image]), (int(n) for n in self.shapes[image])
        flat = np.fromfile(self.file, np.uint8, height * width, offset=start)
        return flat.reshape(height, width).astype(bool)


def load_masks(folder: Path, images: ImageSet) -> Masks:
    """The committed stage's masks; `images` must be the very split that it was made from."""
    if not np.array_equal(np.load(folder / "ids.npy"), images.ids):
        raise BadInput(
            f"{folder} was made from other images than {images.name}/{images.split}; use --force"
        )
    shapes = np.load(folder / "shapes.npy")
    return Masks(folder / "masks.bin", shapes, offsets(shapes.prod(1)))
