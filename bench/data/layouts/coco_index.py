"""A COCO file becomes an index: boxes clipped, masks looked at, everything dropped counted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

from bench.data.findings import Findings
from bench.data.index import Row, write_index
from bench.data.layouts.coco_file import CocoFile, CocoObject, Wrong
from bench.data.layouts.coco_masks import check_place, read_mask


class Counts(TypedDict):
    """What a split holds and what was done to it. unmasked: objects without a mask in a split that
    has masks."""

    images: int
    objects: int
    clipped: int
    dropped: int
    unmasked: int


def index_coco(
    folder: Path,
    file: CocoFile,
    classes: Sequence[str],
    findings: Findings,
    keypoint_names: tuple[str, ...] | None = None,
) -> Counts:
    """Write the index of a split whose categories are joined to `classes` by name. Faults of masks
    go to `findings`; the caller refuses the set."""
    label = {c.id: classes.index(c.name) for c in file.categories if c.name in classes}
    rows = {i.id: Row(i.id, i.file, i.size) for i in file.images}
    counts = Counts(images=len(rows), objects=0, clipped=0, dropped=0, unmasked=0)
    # by id, so that the index does not depend on the order of the file
    for item in sorted(file.objects, key=lambda o: o.id):
        row = rows[item.image]
        try:
            record = _annotation(item, row.size, counts)
        except Wrong as wrong:
            findings.add(wrong.kind, f"{file.name}: annotation {item.id}: {wrong}")
            continue
        if record is not None:
            record["label"] = label[item.category]
            row.annotations.append(record)
    masked = counts["objects"] - counts["unmasked"]
    counts["unmasked"] = counts["unmasked"] if masked else 0
    if not findings:
        write_index(folder, list(classes), rows.values(), keypoint_names)
    return counts


def _annotation(item: CocoObject, size: tuple[int, int], counts: Counts) -> dict[str, Any] | None:
    """The record of an object; None where its box is empty once it is cut to the image."""
    segmentation, extent = read_mask(item.segmentation, size)
    x, y, width, height = item.box
    box = (x, y, x + width, y + height)  # plain numbers: NumPy takes as long for four as for 1,000
    inside = [min(max(v, 0.0), float(size[i % 2])) for i, v in enumerate(box)]
    if inside[2] - inside[0] < 0.01 or inside[3] - inside[1] < 0.01:
        counts["dropped"] += 1
        return None
    if extent is not None:
        check_place(extent, item.box)
    counts["clipped"] += max(abs(a - b) for a, b in zip(inside, box, strict=True)) > 0.5
    counts["objects"] += 1
    counts["unmasked"] += segmentation is None
    return {
        "box": inside,
        "crowd": item.crowd,
        "difficult": False,
        "area": width * height if item.area is None else item.area,
        "id": item.id,
        "segmentation": segmentation,
        "keypoints": item.keypoints,
    }
