"""Predictions in original coordinates, and COCO's metrics by pycocotools."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import nn
from torch.utils.data import DataLoader

from bench.data.base import ImageSet
from bench.engine.context import StageContext
from tasks._detection.backend import DetectorBackend
from tasks._detection.data import TestImages
from tasks._detection.model import paste
from tasks._detection.protocol import DetectionParams
from tasks._detection.train import _start_worker

STATS = ("AP", "AP50", "AP75", "APs", "APm", "APl")


@torch.inference_mode()
def predict(
    ctx: StageContext,
    backend: DetectorBackend,
    model: nn.Module,
    images: ImageSet,
    p: DetectionParams,
    device: torch.device,
) -> list[dict[str, Any]]:
    """Detections of every image in COCO's result format: image_id, category_id (label + 1), bbox (xywh,
    original pixels), score, segmentation (compressed RLE)."""
    model.eval()
    advance = ctx.progress.task("predict", len(images))
    workers = ctx.runtime.workers
    data = DataLoader(
        TestImages(images, p.test_size, p.max_size), num_workers=workers, collate_fn=list,
        worker_init_fn=_start_worker if workers else None,
    )  # fmt: skip
    found: list[dict[str, Any]] = []
    for samples in data:
        (sample,) = samples
        (made,) = backend.predict(model, samples, device)
        found += _results(made, sample, int(images.ids[sample["index"]]))
        advance(1)
    return found


def _results(made: dict[str, torch.Tensor], sample: dict[str, Any], image_id: int) -> list[dict[str, Any]]:
    width, height = sample["original"]
    boxes = to_original(made["boxes"], sample["image"].shape[-2:], (width, height))
    keep = ((boxes[:, 2:] - boxes[:, :2]) > 0).all(1)
    boxes, scores, labels = boxes[keep].cpu(), made["scores"][keep].tolist(), made["labels"][keep].tolist()
    masks = paste(made["masks"][keep].cpu(), boxes, height, width).numpy().astype(np.uint8)
    results = []
    for box, score, label, mask in zip(boxes.tolist(), scores, labels, masks, strict=True):
        rle = coco_mask.encode(np.asfortranarray(mask))
        results.append(
            {
                "image_id": image_id, "category_id": int(label), "score": float(score),
                "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
                "segmentation": {"size": [height, width], "counts": rle["counts"].decode()},
            }
        )  # fmt: skip
    return results


def to_original(boxes: torch.Tensor, resized: tuple[int, int], original: tuple[int, int]) -> torch.Tensor:
    """xyxy boxes from a resized frame (height, width) to the original (width, height), clipped to it."""
    scale = boxes.new_tensor([original[0] / resized[1], original[1] / resized[0]]).repeat(2)
    limit = boxes.new_tensor([original[0], original[1]]).repeat(2)
    return torch.minimum((boxes * scale).clamp(min=0), limit)


def ground_truth(images: ImageSet) -> dict[str, Any]:
    """The split as a COCO instances dict, categories 1..K, with areas, crowds and masks."""
    annotations = []
    for i in range(len(images)):
        o = images.objects(i)
        for j in range(len(o.boxes)):
            x1, y1, x2, y2 = (float(v) for v in o.boxes[j])
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": int(images.ids[i]),
                    "category_id": int(o.labels[j]) + 1, "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": float(o.area[j]), "iscrowd": int(o.crowd[j]),
                    "segmentation": o.segmentations[j] if o.segmentations else [],
                }
            )  # fmt: skip
    records = [
        {"id": int(image), "width": int(w), "height": int(h)}
        for image, (w, h) in zip(images.ids, images.sizes, strict=True)
    ]
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(images.classes)]
    return {"images": records, "annotations": annotations, "categories": categories, "info": {}}


def coco_metrics(
    truth: dict[str, Any], found: list[dict[str, Any]], kinds: tuple[str, ...] = ("bbox", "segm")
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """COCO metrics in percent, AP_bbox ... APl_segm, and AP per class and kind.

    A size bin or class without ground truth (pycocotools' -1) is left out. No detections: 0.
    """
    metrics: dict[str, float] = {}
    per_class: dict[str, dict[str, float]] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        gold = COCO()
        gold.dataset = truth
        gold.createIndex()
        for kind in kinds:
            evaluation = COCOeval(gold, _detections(gold, found, kind), kind)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
            for name, value in zip(STATS, evaluation.stats[:6], strict=True):
                if value > -1:
                    metrics[f"{name}_{kind}"] = 100 * float(value)
            per_class[kind] = _per_class(evaluation, truth)
    return metrics, per_class


def _detections(gold: COCO, found: list[dict[str, Any]], kind: str) -> COCO:
    if found:
        fields = ("image_id", "category_id", "score", "bbox" if kind == "bbox" else "segmentation")
        return gold.loadRes([{k: d[k] for k in fields} for d in found])
    empty = COCO()
    empty.dataset = {**gold.dataset, "annotations": []}
    empty.createIndex()
    return empty


def _per_class(evaluation: COCOeval, truth: dict[str, Any]) -> dict[str, float]:
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # IoU, recall, class, all areas, 100 detections
    names = {c["id"]: c["name"] for c in truth["categories"]}
    return {
        names[category]: 100 * float(precision[:, :, at].mean())
        for at, category in enumerate(evaluation.params.catIds)
        if (precision[:, :, at] > -1).all()
    }
