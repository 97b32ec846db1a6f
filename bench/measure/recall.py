"""How many objects a proposer finds: recall of annotated boxes among its first boxes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from bench.data.boxes import iou
from bench.stages.crop_stats import pool_over_groups

if TYPE_CHECKING:
    from bench.contracts.images import ImageSet
    from bench.stages.proposals import ProposalTable


class Recalls(TypedDict):
    """Recall by numbers of boxes ("10": {"mean", "ci95", "n"}), and what it is of."""

    images: int
    objects: int
    boxes_per_image: float
    recall: dict[str, Any]


def first_hits(boxes: np.ndarray, objects: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """(m,) int64: for each of `objects` (m, 4) the position of the first of `boxes` (n, 4), best
    first, whose IoU with it is at least `threshold`; n where there is none. Boxes xyxy."""
    overlap = iou(np.asarray(objects, np.float64), np.asarray(boxes, np.float64)) >= threshold
    return (
        np.where(overlap.any(1), overlap.argmax(1), len(boxes))
        if len(boxes)
        else np.zeros(len(objects))
    )


def recalls(
    images: ImageSet,
    tables: Sequence[ProposalTable],
    counts: Sequence[int],
    threshold: float = 0.5,
) -> Recalls:
    """Recall of the objects of `images` by the first 10, 100, ... (`counts`) boxes of each image.

    Crowds and difficult objects are not asked for. `tables`: the same proposer's boxes of several
    seeds. In `recall`, `mean` pools the objects of all images and seeds; `ci95` has images as the
    units that were drawn.
    """
    hits_of: dict[int, list[np.ndarray]] = {count: [] for count in counts}
    boxes = 0
    for image_id, objects in _objects(images):
        hits = []
        for table in tables:
            mine = table.boxes(image_id)
            boxes += len(mine)
            hits.append(
                np.where((at := first_hits(mine, objects, threshold)) < len(mine), at, np.inf)
            )
        for count in counts:
            hits_of[count].append((np.concatenate(hits) < count).astype(np.float64))
    return {
        "images": len(images),
        "objects": sum(len(h) for h in hits_of[counts[0]]) // max(len(tables), 1),
        "boxes_per_image": boxes / max(len(images) * len(tables), 1),
        "recall": {str(count): pool_over_groups(hits) for count, hits in hits_of.items()},
    }


def _objects(images: ImageSet) -> Iterator[tuple[int, np.ndarray]]:
    """Ids and boxes of the objects that count."""
    for index in range(len(images)):
        objects = images.objects(index)
        yield int(images.ids[index]), objects.boxes[~objects.crowd & ~objects.difficult]
