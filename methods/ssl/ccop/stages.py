"""The stage that chooses CCOP's RoIs among the proposals."""

from __future__ import annotations

import numpy as np

from bench.contracts.context import StageContext
from bench.core.files import write_json
from bench.core.ragged import offsets
from bench.core.seeds import rng_for
from bench.data.boxes import area, nms_in_order, scaled_side
from bench.stages.proposals import load_proposals


def select_rois(
    boxes: np.ndarray, least: float, max_ratio: float, max_iou: float, top: int, order: np.ndarray
) -> np.ndarray:
    """Proposals (n, 4) xyxy -> RoIs (m, 4) float32, 0 <= m <= top, in `order` (a permutation of
    n).

    Kept: 1/max_ratio < w/h < max_ratio, sqrt(w h) > `least`, IoU <= max_iou with every RoI kept
    before, the first `top`. The order is random because selective search's scores are (paper 003's
    code).
    """
    boxes = boxes[order]
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    ok = (
        (width < max_ratio * height)
        & (height < max_ratio * width)
        & (np.sqrt(area(boxes)) > least)
    )
    boxes, head = boxes[ok], 4 * top
    while True:  # what is kept of a prefix does not depend on the rest, which is long
        kept = nms_in_order(boxes[:head], max_iou, top)
        if len(kept) == top or head >= len(boxes):
            return boxes[kept].astype(np.float32)
        head *= 2


def find_rois(ctx: StageContext) -> None:
    """The stage: leaves `rois.npz` (ids, first, boxes), every image's RoIs by its position in the
    split."""
    images, p = ctx.images("data", str(ctx.params["split"])), ctx.params
    table = load_proposals(ctx.inputs["proposals"])
    advance = ctx.progress.task("RoIs", len(images))
    rois_of_images = []
    for image, (width, height) in zip(images.ids, images.sizes, strict=True):
        boxes = table.boxes(int(image))
        least = scaled_side(float(p["min_sqrt_area"]), int(width), int(height), p["pixels"])
        order = rng_for(0, "roi order", int(image)).permutation(len(boxes))
        rois_of_images.append(
            select_rois(boxes, least, float(p["max_ratio"]), float(p["nms"]), int(p["top"]), order)
        )
        advance(1)
    first = offsets(map(len, rois_of_images))
    np.savez(
        ctx.work / "rois.npz",
        ids=np.asarray(images.ids),
        first=first,
        boxes=np.concatenate(rois_of_images),
    )
    write_json(ctx.work / "info.json", {"images": len(images), "rois": int(first[-1])})
