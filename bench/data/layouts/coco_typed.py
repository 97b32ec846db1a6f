"""A COCO file without faults, decoded in one pass with its types; masks stay JSON text.

msgspec checks the types while it decodes, some six times as fast as reading dicts entry by entry.
Where a file breaks any rule of `bench.data.layouts.coco_file`, that module reads it, and says what
is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import chain
from typing import Any

import numpy as np

from bench.core.ragged import offsets, span
from bench.data.layouts.coco_entries import (
    LARGEST,
    CocoCategory,
    CocoFile,
    CocoImage,
    CocoObjects,
)

BEYOND = float(LARGEST + 1)  # the least float of more than 63 bits


def _image_type() -> Any:
    import msgspec

    fields: list[tuple[str, type]] = [("id", int), ("file_name", str), ("width", int)]
    return msgspec.defstruct("Image", [*fields, ("height", int)], namespace={}, gc=False)


@cache
def _decoder() -> Any:
    """Decodes a file into its lists."""
    import msgspec

    entry: dict[str, Any] = {"namespace": {}, "gc": False}
    # an array with the fields of a struct, which the garbage collector need not follow
    sides = [(side, float) for side in ("x", "y", "width", "height")]
    box = msgspec.defstruct("Box", sides, array_like=True, forbid_unknown_fields=True, **entry)
    image = _image_type()
    item = msgspec.defstruct(
        "Item",
        [
            ("id", int),
            ("image_id", int),
            ("category_id", int),
            ("bbox", box),
            ("iscrowd", int, 0),
            ("area", float | None, None),
            ("segmentation", msgspec.Raw, None),
            ("keypoints", list[float] | None, None),
            ("num_keypoints", int | None, None),
        ],
        **entry,
    )
    category = msgspec.defstruct(
        "Category", [("id", int), ("name", str), ("keypoints", list[str], ())], **entry
    )
    whole = msgspec.defstruct(
        "File",
        [("images", list[image]), ("annotations", list[item]), ("categories", list[category])],  # type: ignore[valid-type]
        namespace={},
    )
    return msgspec.json.Decoder(whole)


@cache
def _image_decoder() -> Any:
    """Decodes the images of a file, and only skips over the rest."""
    import msgspec

    rest = [("annotations", msgspec.Raw), ("categories", msgspec.Raw)]
    fields = [("images", list[_image_type()]), *rest]  # type: ignore[misc]
    return msgspec.json.Decoder(msgspec.defstruct("Images", fields, namespace={}))


def read_names(data: bytes) -> list[str] | None:
    """The file names of the images, in the order of the file; None where an image is not what
    `read_typed` takes."""
    try:
        content = _image_decoder().decode(data)
    except (ValueError, RecursionError):
        return None
    images = [CocoImage(i.id, i.file_name, (i.width, i.height)) for i in content.images]
    return [image.file for image in images] if _are_images(images) else None


def read_typed(data: bytes, name: str) -> CocoFile | None:
    """The file; None where something is missing, has another type or breaks a rule."""
    try:
        content = _decoder().decode(data)
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return None
    images = [CocoImage(i.id, i.file_name, (i.width, i.height)) for i in content.images]
    categories = [CocoCategory(c.id, c.name, tuple(c.keypoints)) for c in content.categories]
    if not (_are_images(images) and _are_categories(categories)):
        return None
    objects = _read_objects(content.annotations)
    if objects is None or not _are_unique(objects.ids):
        return None
    return CocoFile(name, images, objects, categories)


def _read_objects(items: list[Any]) -> CocoObjects | None:
    """The columns of the annotations; None where one breaks a rule."""
    count = len(items)
    try:
        ids = np.array([i.id for i in items], np.int64)
        images = np.array([i.image_id for i in items], np.int64)
        categories = np.array([i.category_id for i in items], np.int64)
        crowd = np.array([i.iscrowd for i in items], np.int64)
    except OverflowError:
        return None
    values = chain.from_iterable((i.bbox.x, i.bbox.y, i.bbox.width, i.bbox.height) for i in items)
    boxes = np.fromiter(values, np.float64, 4 * count).reshape(-1, 4)
    area = np.array([np.nan if i.area is None else i.area for i in items], np.float64)
    points = _read_points(items)
    # NaN and infinity are no JSON, and larger numbers than 63 bits are findings
    rules = (
        (boxes[:, 2:] >= 0) & (np.abs(boxes[:, 2:]) < BEYOND),
        np.abs(boxes[:, :2]) < BEYOND,
        np.isnan(area) | ((area >= 0) & (area < BEYOND)),
        (crowd == 0) | (crowd == 1),
        (images >= -LARGEST) & (categories >= -LARGEST),
    )
    if points is None or not all(rule.all() for rule in rules):
        return None
    masks = [i.segmentation for i in items]
    return CocoObjects(ids, images, categories, boxes, crowd == 1, area, masks, *points)


def _read_points(items: list[Any]) -> tuple[list[np.ndarray | None], np.ndarray] | None:
    """The keypoints of every annotation and how many of them count; None where some are not x, y,
    visibility, or such a number is negative or too large."""
    pointed = [at for at, item in enumerate(items) if item.keypoints]
    first = offsets(len(items[at].keypoints) for at in pointed)
    values = np.fromiter(
        chain.from_iterable(items[at].keypoints for at in pointed), np.float64, int(first[-1])
    )
    points: list[np.ndarray | None] = [None] * len(items)
    labelled = np.zeros(len(items), np.int64)
    if not pointed:
        return points, labelled
    if (first % 3).any() or not (np.abs(values) < BEYOND).all():
        return None
    seen = values[2::3]
    if not ((seen == 0) | (seen == 1) | (seen == 2)).all():
        return None
    labelled[pointed] = np.add.reduceat(seen > 0, first[:-1] // 3, dtype=np.int64)
    for row, at in enumerate(pointed):
        points[at] = values[span(first, row)]
        number = items[at].num_keypoints
        if number is None:
            continue
        if not 0 <= number <= LARGEST:
            return None
        labelled[at] = number
    return points, labelled


def _are_unique(ids: np.ndarray) -> bool:
    """Ids of at most 63 bits, none of them twice."""
    ordered = np.sort(ids)
    return not ((ordered[1:] == ordered[:-1]).any() or (ordered[:1] < -LARGEST).any())


def _are_images(images: list[CocoImage]) -> bool:
    names = all(i.file.strip() and "\0" not in i.file for i in images)
    sizes = all(1 <= min(i.size) <= max(i.size) <= LARGEST for i in images)
    return names and sizes and _have_ids(images)


def _are_categories(categories: list[CocoCategory]) -> bool:
    points = all(len(set(c.keypoints)) == len(c.keypoints) for c in categories)
    return points and all(c.name.strip() for c in categories) and _have_ids(categories)


def _have_ids(entries: Sequence[CocoImage] | Sequence[CocoCategory]) -> bool:
    try:
        return _are_unique(np.array([entry.id for entry in entries], np.int64))
    except OverflowError:
        return False
