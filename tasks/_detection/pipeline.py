"""From a backbone file to metrics."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from torch import nn

from bench.contracts.context import StageContext
from bench.contracts.images import ImageSet
from bench.core.errors import BadData
from bench.core.files import write_json
from bench.core.picture import contact_sheet, draw_boxes
from bench.stages.pretrain.setup import pick_device, step_threads
from tasks._detection.backend import DetectorBackend, select
from tasks._detection.evaluate import choose_evaluator, coco_metrics, predict
from tasks._detection.protocol import DetectionParams, VocParams
from tasks._detection.records import Detection, Metrics, PerClass
from tasks._detection.selection import OneClass, choose_fraction
from tasks._detection.train import precise_batch_norm, train
from tasks._detection.truth import read_truth
from tasks._detection.voc import voc_metrics
from tasks._shared.finetune import open_fabric


def run_detection(ctx: StageContext, p: DetectionParams) -> dict[str, float]:
    """Train on "train", score on "val"; leaves detector.pth, detections.json, per_class.json."""
    backend = select(p)
    images, held_out = (prepare_split(ctx.images("data", s), p) for s in ("train", "val"))
    if p.fraction < 1:
        _write_subset(ctx, images, p)
    device = pick_device(ctx.runtime.devices)
    if device.kind == "cpu":
        torch.set_num_threads(step_threads(ctx, device))
    fabric = open_fabric(device.kind)
    model = build(ctx, backend, images, p)
    model = model.to(fabric.device).to(memory_format=torch.channels_last)
    train(ctx, backend, model, images, p, fabric)
    precise_batch_norm(ctx, backend, model, images, p, fabric)
    torch.save({k: v.cpu() for k, v in model.state_dict().items()}, ctx.work / "detector.pth")
    detections = predict(ctx, backend, model, held_out, p, fabric.device)
    (ctx.work / "detections.json").write_text(json.dumps(detections))
    metrics, per_class = score(held_out, detections, p, ctx.inputs.get("annotations"))
    write_json(ctx.work / "per_class.json", per_class)
    ctx.tracker.image("predictions", draw_predictions(held_out, detections))
    return metrics


def prepare_split(images: ImageSet, p: DetectionParams) -> ImageSet:
    """The split as the protocol uses it; BadData where it lacks annotations that the protocol
    needs."""
    other = "try: --task-data coco=PATH or --task-data scenes"
    if len(images) and "segm" in p.kinds and images.objects(0).segmentations is None:
        raise BadData(
            f"{images.name}/{images.split} has no masks, which instance segmentation needs; "
            f"{other}"
        )
    unmasked = int(images.count_unmasked().sum()) if "segm" in p.kinds else 0
    if unmasked:
        raise BadData(
            f"{unmasked} objects of {images.name}/{images.split} have no mask, which instance "
            f"segmentation needs of every object; {other}"
        )
    if "keypoints" not in p.kinds:
        return images
    if not images.keypoint_names or images.objects(0).keypoints is None:
        raise BadData(f"{images.name}/{images.split} has no keypoints; {other}_keypoints")
    return OneClass(images)


def score(
    images: ImageSet,
    detections: list[Detection],
    p: DetectionParams,
    written: Path | None = None,
) -> tuple[Metrics, PerClass]:
    """The protocol's metrics in percent, and per class; COCO's against the annotations as they are
    `written`, where the evaluation has the folder of such a stage."""
    if isinstance(p, VocParams):
        return voc_metrics(images, detections, p.ap_rule)
    return coco_metrics(read_truth(images, written), detections, p.kinds, choose_evaluator(p))


def _write_subset(ctx: StageContext, images: ImageSet, p: DetectionParams) -> None:
    """Which images were trained on: `subset.json`."""
    ids = [int(i) for i in images.ids[choose_fraction(images.ids, p.fraction, p.subset_seed)]]
    text = "\n".join(map(str, ids))
    report = {
        "fraction": p.fraction,
        "seed": p.subset_seed,
        "images": len(ids),
        "sha256_of_ids": hashlib.sha256(text.encode()).hexdigest(),
        "ids": ids,
    }
    write_json(ctx.work / "subset.json", report)


def build(
    ctx: StageContext, backend: DetectorBackend, images: ImageSet, p: DetectionParams
) -> nn.Module:
    """The detector with the stage's backbone in it; every backbone tensor must match."""
    name = ctx.stage.inputs["backbone"].params["method"]["params"]["backbone"]
    torch.manual_seed(ctx.seed("detector init"))
    weights = ctx.inputs["backbone"] / "backbone.pth"
    points = len(images.keypoint_names) if "keypoints" in p.kinds else 0
    model, matched = backend.build(name, weights, len(images.classes), p, points)
    report = {
        "backbone": name,
        "tensors_matched": matched,
        "engine": backend.name,
        "version": backend.version,
    }
    write_json(ctx.work / "weights.json", report)
    return model


def draw_predictions(images: ImageSet, detections: list[Detection], count: int = 4) -> np.ndarray:
    """The first images with their three best detections: (H, W, 3) uint8."""
    row = []
    for i in range(min(count, len(images))):
        mine = sorted(
            (d for d in detections if d["image_id"] == images.ids[i]), key=lambda d: -d["score"]
        )[:3]
        boxes = np.array([d["bbox"] for d in mine]).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        names = [f"{images.classes[d['category_id'] - 1]} {d['score']:.2f}" for d in mine]
        row.append(draw_boxes(images.image(i), boxes, names))
    return contact_sheet([row])
