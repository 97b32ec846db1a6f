"""The picture of a detector's predictions."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from bench.contracts.context import StageContext
from bench.contracts.images import ImageSet, positions
from bench.contracts.registry import load
from bench.contracts.titles import title_of
from bench.core.errors import BadData
from bench.figures._content import Content, panel, save
from tasks._detection.pipeline import prepare_split
from tasks._detection.records import Detection

LEAST = 0.05  # score from which a detection is drawn
MOST = 12  # detections of an image


def run(ctx: StageContext) -> None:
    """Two rows for each four images: the truth, and below it as many of the best detections."""
    task: Any = load("task", ctx.params["task"]["name"]).from_identity(
        dict(ctx.params["task"]["params"])
    )
    images = prepare_split(ctx.images("data", str(ctx.params["split"])), task.params)
    try:
        detections = json.loads((ctx.inputs["cell"] / "detections.json").read_text())
    except OSError:
        raise BadData(
            "this cell kept no detections; run it again: bench run --force ..."
        ) from None
    chosen = positions(images, ctx.params["images"])
    panels = [(draw_objects(images, i), draw_detections(images, i, detections)) for i in chosen]
    rows: list[list[Content]] = []
    for start in range(0, len(panels), 4):
        part = panels[start : start + 4]
        rows += [[a for a, _ in part], [b for _, b in part]]
    backbone = ctx.stage.inputs["cell"].inputs.get("backbone")
    title = f"{ctx.params['task']['name']}{f' from {title_of(backbone)}' if backbone else ''}"
    below = (
        f"Above: annotated. Below: the best detections, as many but at most {MOST}; "
        "scores in percent."
    )
    save(ctx.work, {"rows": rows, "columns": [], "title": title, "below": below})


def draw_objects(images: ImageSet, i: int) -> Content:
    """The annotated objects of an image, crowds left out."""
    o = images.objects(i)
    use = ~o.crowd
    labels = [images.classes[int(k)] for k in o.labels[use]]
    return panel(
        images.image(i),
        f"image {images.ids[i]}",
        o.boxes[use],
        labels,
        colours=[int(k) for k in o.labels[use]],
    )


def draw_detections(images: ImageSet, i: int, detections: list[Detection]) -> Content:
    """The best detections of an image, as many as it has objects."""
    most = min(MOST, max(1, int((~images.objects(i).crowd).sum())))
    mine = [d for d in detections if d["image_id"] == images.ids[i] and d["score"] >= LEAST]
    mine = sorted(mine, key=lambda d: -d["score"])[:most]
    boxes = np.array([d["bbox"] for d in mine], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    classes = [int(d["category_id"]) - 1 for d in mine]
    labels = [
        f"{images.classes[k]} {100 * d['score']:.0f}" for k, d in zip(classes, mine, strict=True)
    ]
    return panel(images.image(i), "" if mine else "nothing", boxes, labels, colours=classes)
