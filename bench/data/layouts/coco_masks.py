"""COCO's segmentations: polygons and run lengths, checked against the image and the box."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.data.layouts.coco_file import Wrong

DECODED = (list, dict, str, int, float)  # what JSON's values become
Extent = tuple[float, float, float, float]  # x1, y1, x2, y2 of a mask


def plain(segmentation: Any) -> Any:
    """A segmentation whose JSON text was kept (msgspec.Raw), decoded; others as they are. `Wrong`
    where a number of it is too large or a text is no UTF-8."""
    if segmentation is None or isinstance(segmentation, DECODED):
        return segmentation
    import msgspec

    try:
        return msgspec.json.decode(segmentation) if memoryview(segmentation) else None
    except ValueError as error:  # msgspec's errors are ValueErrors
        start = bytes(segmentation)[:40].decode(errors="replace")
        raise Wrong(
            "segmentation cannot be read", f"segmentation {start} cannot be read: {error}"
        ) from None


def read_mask(segmentation: Any, size: tuple[int, int]) -> tuple[Any, Extent | None]:
    """A segmentation as it goes into the index, and where it lies; (None, None) where there is
    none (null, an empty list, or nothing but polygons of less than three points, which are left
    out). `size`: (width, height) of the image. `Wrong` where it is neither polygons nor run
    lengths of this image."""
    text, segmentation = segmentation, plain(segmentation)
    if segmentation is None or segmentation == []:
        return None, None
    if isinstance(segmentation, list):
        kept, extent = _polygons(segmentation)
        return (text if kept is segmentation else kept), extent  # what is unchanged stays text
    if isinstance(segmentation, dict):
        return text, _runs(segmentation, size)
    raise Wrong(
        "segmentation is neither polygons nor run lengths",
        f"segmentation is {type(segmentation).__name__}, neither polygons nor run lengths",
    )


def check_place(extent: Extent, box: Sequence[float]) -> None:
    """`Wrong` where the mask and the box (x, y, width, height) have nothing in common."""
    x, y, width, height = box
    if extent[0] > x + width or extent[1] > y + height or extent[2] < x or extent[3] < y:
        low = f"{extent[0]:.4g}, {extent[1]:.4g}"
        raise Wrong(
            "the mask lies outside the box",
            f"its mask, from {low} to {extent[2]:.4g}, {extent[3]:.4g}, lies outside its bbox "
            f"[{', '.join(f'{v:.4g}' for v in box)}]",
        )


def _polygons(polygons: list[Any]) -> tuple[list[Any] | None, Extent | None]:
    kept = []
    low_x = low_y = math.inf
    high_x = high_y = -math.inf
    for polygon in polygons:
        if not isinstance(polygon, list):
            raise Wrong(
                "segmentation is not a list of polygons",
                f"segmentation is not a list of polygons: it holds {str(polygon)[:40]}",
            )
        plain = set(map(type, polygon)) <= {int, float}
        if len(polygon) % 2 or not plain or not _is_finite(polygon):
            raise Wrong(
                "a polygon is not x, y, x, y, ...",
                f"a polygon of its segmentation is {str(polygon)[:60]}, not x, y, x, y, ...",
            )
        if len(polygon) < 6:
            continue
        kept.append(polygon)
        xs, ys = polygon[::2], polygon[1::2]
        low_x, high_x = min(low_x, min(xs)), max(high_x, max(xs))
        low_y, high_y = min(low_y, min(ys)), max(high_y, max(ys))
    if not kept:
        return None, None
    return (polygons if len(kept) == len(polygons) else kept), (low_x, low_y, high_x, high_y)


def _is_finite(numbers: list[float]) -> bool:
    try:
        return math.isfinite(sum(numbers))
    except OverflowError:  # a whole number larger than any float
        return False


def _runs(mask: dict[str, Any], size: tuple[int, int]) -> Extent:
    """Where the run lengths are 1. They alternate between 0 and 1 down the columns of the image,
    beginning with 0, and cover all of it."""
    shape, counts = mask.get("size"), mask.get("counts")
    if shape != [size[1], size[0]]:
        raise Wrong(
            "a mask has another size than its image",
            f"its mask has size {shape}, but [height, width] of the image is "
            f"[{size[1]}, {size[0]}]",
        )
    runs = _decode(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or set(map(type, runs)) - {int}:
        raise Wrong("run lengths are not numbers", f"counts is {str(counts)[:40]}, no run lengths")
    if min(runs, default=0) < 0 or sum(runs) != size[0] * size[1]:
        raise Wrong(
            "run lengths do not cover the image",
            f"its run lengths cover {sum(runs)} pixels of {size[0] * size[1]}, or one is negative",
        )
    ends = np.cumsum(runs)
    starts, stops = ends[:-1:2], ends[1::2]
    shown = stops > starts
    if not shown.any():
        raise Wrong("a mask is empty", "its mask has no pixel")
    return _extent(starts[shown], stops[shown], size[1])


def _extent(starts: np.ndarray, stops: np.ndarray, height: int) -> Extent:
    first, last = starts // height, (stops - 1) // height
    if (first == last).all():
        low, high = (starts % height).min(), ((stops - 1) % height).max() + 1
    else:  # a run that goes on in the next column touches both edges
        low, high = 0, height
    return float(first.min()), float(low), float(last.max() + 1), float(high)


def _decode(text: str) -> list[int]:
    """Run lengths of COCO's compressed form: 5 bits a character from "0", the sixth says that more
    follow, the fifth of the last is the sign; from the fourth number on, differences to the one
    two before (`rleFrString` of cocoapi)."""
    runs: list[int] = []
    value = shift = 0
    for character in text.encode():
        bits = character - 48
        if not 0 <= bits < 64:
            break
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    else:
        if not shift:
            return runs
    raise Wrong("run lengths do not decode", f"its run lengths {text[:30]!r} do not decode")
