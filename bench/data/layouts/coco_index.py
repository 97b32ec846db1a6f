"""A COCO file becomes an index: boxes clipped, masks looked at, everything dropped counted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from bench.core.ragged import offsets
from bench.data.findings import Findings
from bench.data.index import Columns, stack_keypoints, write_columns
from bench.data.layouts.coco_file import CocoFile, Wrong
from bench.data.layouts.coco_masks import check_place, plain, read_mask
from bench.data.layouts.coco_scan import ABSENT, UNKNOWN, scan_masks


class Counts(TypedDict):
    """What a split holds and what was done to it. unmasked: objects without a mask in a split that
    has masks. remarks: on masks that were left out."""

    images: int
    objects: int
    clipped: int
    dropped: int
    unmasked: int
    remarks: list[str]


def index_coco(
    folder: Path,
    file: CocoFile,
    classes: Sequence[str],
    findings: Findings,
    keypoint_names: tuple[str, ...] | None = None,
) -> Counts:
    """Write the index of a split whose categories are joined to `classes` by name. Faults of masks
    go to `findings`; the caller refuses the set."""
    sizes = file.image_sizes()[file.places].reshape(-1, 2)
    inside, moved = _clip(file.objects.boxes, sizes)
    empty = (inside[:, 2:] - inside[:, :2] < 0.01).any(1)
    masks, right = _read_masks(file, sizes, empty, findings)
    kept = ~empty & right
    masked = sum(masks[at] is not None for at in np.flatnonzero(kept).tolist())
    total = int(kept.sum())
    counts = Counts(
        images=len(file.images),
        objects=total,
        clipped=int((moved & kept).sum()),
        dropped=int((empty & right).sum()),
        unmasked=total - masked if masked else 0,
        remarks=_describe_lost(file, masks, kept),
    )
    if not findings:
        columns = _order(file, inside, kept, masks if masked else None, classes)
        write_columns(folder, list(classes), columns, keypoint_names)
    return counts


def _clip(boxes: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (x, y, width, height) as corners that are cut to images of these sizes, (N, 4), and
    which of them moved by more than half a pixel, (N,)."""
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)
    most = np.tile(sizes.astype(np.float64), 2)
    above = np.where(corners < 0, 0.0, corners)
    inside = np.where(above > most, most, above)
    return inside, (np.abs(inside - corners) > 0.5).any(1)


def _read_masks(
    file: CocoFile, sizes: np.ndarray, empty: np.ndarray, findings: Findings
) -> tuple[list[Any], np.ndarray]:
    """What goes into the index as the mask of every object, and whether it is right, (N,). Those
    that are not plainly right are decoded, in the order of the objects' ids."""
    objects = file.objects
    kinds = scan_masks(objects.segmentations, objects.boxes)
    masks = [
        None if kind == ABSENT else mask
        for mask, kind in zip(objects.segmentations, kinds, strict=True)
    ]
    right = np.ones(len(masks), bool)
    unknown = np.flatnonzero(kinds == UNKNOWN)
    for at in unknown[np.argsort(objects.ids[unknown])]:
        try:
            masks[at], extent = read_mask(masks[at], (int(sizes[at, 0]), int(sizes[at, 1])))
            if extent is not None and not empty[at]:
                check_place(extent, objects.boxes[at].tolist())
        except Wrong as wrong:
            findings.add(wrong.kind, f"{file.name}: annotation {objects.ids[at]}: {wrong}")
            right[at] = False
    return masks, right


def _describe_lost(file: CocoFile, masks: Sequence[Any], kept: np.ndarray) -> list[str]:
    """A remark on masks that have no polygon of three points."""
    given = file.objects.segmentations
    absent = [at for at in np.flatnonzero(kept).tolist() if masks[at] is None]
    lost = sum(plain(given[at]) not in (None, []) for at in absent)
    return [f"{lost:,} masks have no polygon of three points and are left out"] * (lost > 0)


def _order(
    file: CocoFile,
    inside: np.ndarray,
    kept: np.ndarray,
    masks: Sequence[Any] | None,
    classes: Sequence[str],
) -> Columns:
    """The columns of the index: images by id, objects by image and id, so that it does not depend
    on the order of the file."""
    objects = file.objects
    ids = np.array([i.id for i in file.images], np.int64)
    by_id = np.argsort(ids)
    at = np.lexsort((objects.ids, objects.images))
    at = at[kept[at]]
    label = {c.id: classes.index(c.name) for c in file.categories if c.name in classes}
    known, inverse = np.unique(objects.categories[at], return_inverse=True)
    sides = objects.boxes[at, 2:]
    area = objects.area[at]
    return Columns(
        ids=ids[by_id],
        sizes=file.image_sizes()[by_id],
        files=[file.images[i].file for i in by_id],
        first=offsets(np.bincount(file.places[at], minlength=len(ids))[by_id]),
        boxes=inside[at],
        labels=np.array([label[int(c)] for c in known], np.int64)[inverse],
        crowd=objects.crowd[at],
        difficult=np.zeros(len(at), bool),
        area=np.where(np.isnan(area), sides[:, 0] * sides[:, 1], area),
        object_ids=objects.ids[at],
        masks=None if masks is None else list(map(masks.__getitem__, at.tolist())),
        keypoints=stack_keypoints(list(map(objects.keypoints.__getitem__, at.tolist()))),
    )
