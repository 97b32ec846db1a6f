"""From a backbone file to COCO metrics."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from torch import nn

from bench.data.base import ImageSet
from bench.engine.context import StageContext
from bench.engine.pretrain import pick_device, step_threads
from bench.errors import BadData
from bench.store import write_json
from bench.views.picture import contact_sheet, draw_boxes
from tasks._detection.backend import DetectorBackend, select
from tasks._detection.evaluate import coco_metrics, ground_truth, predict
from tasks._detection.protocol import DetectionParams
from tasks._detection.train import precise_batch_norm, train


def run_detection(ctx: StageContext, p: DetectionParams) -> dict[str, float]:
    """Train on "train", score on "val"; leaves detector.pth, detections.json, per_class.json."""
    backend = select(p)
    from lightning.fabric import Fabric

    images, held_out = ctx.images("data", "train"), ctx.images("data", "val")
    _needs_masks(images)
    _needs_masks(held_out)
    device = pick_device(ctx.runtime.devices)
    if device.kind == "cpu":
        torch.set_num_threads(step_threads(ctx, device))
    fabric = Fabric(accelerator=device.kind, devices=1)
    model = build(ctx, backend, images, p).to(fabric.device, memory_format=torch.channels_last)
    train(ctx, backend, model, images, p, fabric)
    precise_batch_norm(ctx, backend, model, images, p, fabric)
    torch.save({k: v.cpu() for k, v in model.state_dict().items()}, ctx.work / "detector.pth")
    found = predict(ctx, backend, model, held_out, p, fabric.device)
    (ctx.work / "detections.json").write_text(json.dumps(found))
    metrics, per_class = coco_metrics(ground_truth(held_out), found)
    write_json(ctx.work / "per_class.json", per_class)
    ctx.tracker.image("predictions", prediction_picture(held_out, found))
    return metrics


def _needs_masks(images: ImageSet) -> None:
    if images.objects(0).segmentations is None:
        raise BadData(
            f"{images.name}/{images.split} has no masks, which instance segmentation needs; "
            "try: --task-data coco=PATH or --task-data scenes"
        )


def build(ctx: StageContext, backend: DetectorBackend, images: ImageSet, p: DetectionParams) -> nn.Module:
    """The detector with the stage's backbone in it; every backbone tensor must match."""
    name = ctx.stage.inputs["backbone"].params["method"]["params"]["backbone"]
    torch.manual_seed(ctx.seed("detector init"))
    weights = ctx.inputs["backbone"] / "backbone.pth"
    model, matched = backend.build(name, weights, len(images.classes), p)
    report = {
        "backbone": name,
        "tensors_matched": matched,
        "engine": backend.name,
        "version": backend.version,
    }
    write_json(ctx.work / "weights.json", report)
    return model


def prediction_picture(images: ImageSet, found: list[dict[str, Any]], count: int = 4) -> np.ndarray:
    """The first images with their three best detections: (H, W, 3) uint8."""
    row = []
    for i in range(min(count, len(images))):
        mine = sorted((d for d in found if d["image_id"] == images.ids[i]), key=lambda d: -d["score"])[:3]
        boxes = np.array([d["bbox"] for d in mine]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        names = [f"{images.classes[d['category_id'] - 1]} {d['score']:.2f}" for d in mine]
        row.append(draw_boxes(images.image(i), boxes, names))
    return contact_sheet([row])
