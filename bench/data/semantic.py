"""Semantic masks and image-level labels: what a class says about pixels, and about whole images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bench.core.errors import BadData

if TYPE_CHECKING:
    from bench.contracts.images import ImageSet

VOID = 255


def read_classes(path: Path) -> np.ndarray:
    """(H, W) uint8: the indices of a palette PNG (never its colours), or the levels of an 8-bit
    grey one.

    Anything else, a missing or a damaged file raises BadData naming it.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.mode.startswith("I"):
                raise BadData(
                    f"mask {path} has 16 bits a pixel ({image.mode}), not 8; use the original PNG"
                )
            if image.mode not in ("P", "L"):
                raise BadData(
                    f"mask {path} holds colours ({image.mode}), not class indices; use the "
                    "original PNG, "
                    "a copy from an image editor loses its palette"
                )
            return np.array(image, dtype=np.uint8)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())[:120]
        raise BadData(f"mask {path} does not decode ({reason}); download it again") from None


def check_classes(path: Path, size: tuple[int, int], n_classes: int) -> None:
    """BadData unless the mask at `path` is width x height and holds 0..n_classes and 255 only."""
    mask = read_classes(path)
    if mask.shape != (size[1], size[0]):
        raise BadData(
            f"mask {path} is {mask.shape[1]}x{mask.shape[0]} but its image is "
            f"{size[0]}x{size[1]}; "
            "download it again"
        )
    wrong = np.setdiff1d(mask, [*range(n_classes + 1), VOID])
    if len(wrong):
        raise BadData(
            f"mask {path} holds {wrong[0]}, not 0 (background), 1..{n_classes} or {VOID} (void); "
            "use the "
            "original PNG"
        )


def pixel_classes(images: ImageSet) -> list[str]:
    """The names of the values of `pixel_targets`: background first, where the set has it."""
    return ["background", *images.classes] if images.background else list(images.classes)


def pixel_targets(images: ImageSet, index: int) -> np.ndarray:
    """(H, W) uint8: the position of each pixel's class in `pixel_classes`, 255 void.

    BadData if the image has no mask, or one of another size.
    """
    mask = images.semantic(index)
    width, height = (int(side) for side in images.sizes[index])
    if mask is None:
        raise BadData(
            f"image {images.file(index)} has no semantic mask; leave it out of the image set"
        )
    if mask.shape != (height, width):
        raise BadData(
            f"the mask of {images.file(index)} is {mask.shape[1]}x{mask.shape[0]} but the image "
            "is "
            f"{width}x{height}; download it again"
        )
    return mask if images.background else np.where(mask == VOID, VOID, mask - 1).astype(np.uint8)


def image_labels(images: ImageSet) -> np.ndarray:
    """(N, K) int8, a class of an image: 1 present, 0 only as objects marked difficult, -1 absent.

    These are the values of VOC's per-class image sets (`ImageSets/Main/<class>_<set>.txt`), made
    from the objects. VOC's classification task leaves the zeros out.
    """
    found = np.full((len(images), len(images.classes)), -1, np.int8)
    for i in range(len(images)):
        objects = images.objects(i)
        found[i, objects.labels[objects.difficult]] = 0
        found[i, objects.labels[~objects.difficult]] = 1
    return found


def single_labels(images: ImageSet) -> np.ndarray:
    """(N,) int64, one class of each image, -1 where there is none.

    Classification sets say it (`image_class`). In sets of scenes it is the class of the largest
    object by `area`, crowds and difficult objects aside, the first of equals: what an image is
    mostly about. So single-label protocols run on scenes too, at a meaning of their own.
    """
    known = images.image_class()
    if known is not None:
        return known
    found = np.full(len(images), -1, np.int64)
    for i in range(len(images)):
        objects = images.objects(i)
        plain = np.flatnonzero(~(objects.crowd | objects.difficult))
        if len(plain):
            found[i] = objects.labels[plain[np.argmax(objects.area[plain])]]
    return found
