"""Predictions in original coordinates, and COCO's metrics."""

from __future__ import annotations

import contextlib
import copy
import io
import warnings
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_mask
from torch import nn
from torch.utils.data import DataLoader

from bench.contracts.context import StageContext
from bench.contracts.images import ImageSet
from bench.core.processes import start_worker
from tasks._detection.backend import DetectorBackend
from tasks._detection.data import TestImages
from tasks._detection.model import paste
from tasks._detection.protocol import DetectionParams

FIELDS = {"bbox": "bbox", "segm": "segmentation", "keypoints": "keypoints"}
STATS = ("AP", "AP50", "AP75", "APs", "APm", "APl")
POINT_STATS = ("AP", "AP50", "AP75", "APm", "APl")
OTHER_SIGMA = 0.05  # of keypoints that are not COCO's, for which no measured spread exists


@torch.inference_mode()
def predict(
    ctx: StageContext,
    backend: DetectorBackend,
    model: nn.Module,
    images: ImageSet,
    p: DetectionParams,
    device: torch.device,
) -> list[dict[str, Any]]:
    """Detections of every image in COCO's result format: image_id, category_id (label + 1), bbox
    (xywh, original pixels), score, and maybe segmentation (compressed RLE), keypoints (flat x, y,
    score)."""
    model.eval()
    advance = ctx.progress.task("predict", len(images))
    workers = ctx.runtime.workers
    data = DataLoader(
        TestImages(images, p.test_size, p.max_size),
        num_workers=workers,
        collate_fn=list,
        worker_init_fn=start_worker if workers else None,
    )
    found: list[dict[str, Any]] = []
    for samples in data:
        (sample,) = samples
        (made,) = backend.predict(model, samples, device)
        found += _results(made, sample, int(images.ids[sample["index"]]))
        advance(1)
    return found


def _results(
    made: dict[str, torch.Tensor], sample: dict[str, Any], image_id: int
) -> list[dict[str, Any]]:
    width, height = sample["original"]
    frame = sample["image"].shape[-2:]
    boxes = to_original(made["boxes"], frame, (width, height))
    keep = ((boxes[:, 2:] - boxes[:, :2]) > 0).all(1)
    boxes = boxes[keep].cpu()
    results: list[dict[str, Any]] = [
        {
            "image_id": image_id,
            "category_id": int(label),
            "score": float(score),
            "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
        }
        for box, score, label in zip(
            boxes.tolist(),
            made["scores"][keep].tolist(),
            made["labels"][keep].tolist(),
            strict=True,
        )
    ]
    if "masks" in made:
        masks = paste(made["masks"][keep].cpu(), boxes, height, width).numpy().astype(np.uint8)
        for result, mask in zip(results, masks, strict=True):
            rle = coco_mask.encode(np.asfortranarray(mask))
            result["segmentation"] = {"size": [height, width], "counts": rle["counts"].decode()}
    if "keypoints" in made:
        scale = torch.tensor([width / frame[1], height / frame[0], 1.0])
        # COCO counts pixels
        points = made["keypoints"][keep].cpu() * scale - torch.tensor([0.5, 0.5, 0.0])
        for result, place in zip(results, points, strict=True):
            result["keypoints"] = place.flatten().tolist()
    return results


def to_original(
    boxes: torch.Tensor, resized: tuple[int, int], original: tuple[int, int]
) -> torch.Tensor:
    """xyxy boxes from a resized frame (height, width) to the original (width, height), clipped to
    it."""
    scale = boxes.new_tensor([original[0] / resized[1], original[1] / resized[0]]).repeat(2)
    limit = boxes.new_tensor([original[0], original[1]]).repeat(2)
    return torch.minimum((boxes * scale).clamp(min=0), limit)


def ground_truth(images: ImageSet) -> dict[str, Any]:
    """The split as a COCO instances dict, categories 1..K, with areas, crowds, masks and
    keypoints."""
    annotations = []
    for i in range(len(images)):
        o = images.objects(i)
        for j in range(len(o.boxes)):
            x1, y1, x2, y2 = (float(v) for v in o.boxes[j])
            made = {
                "id": len(annotations) + 1,
                "image_id": int(images.ids[i]),
                "category_id": int(o.labels[j]) + 1,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": float(o.area[j]),
                "iscrowd": int(o.crowd[j]),
                "segmentation": o.segmentations[j] if o.segmentations else [],
            }
            if o.keypoints is not None:
                made["keypoints"] = o.keypoints[j].flatten().tolist()
                made["num_keypoints"] = int((o.keypoints[j][:, 2] > 0).sum())
            annotations.append(made)
    records = [
        {"id": int(image), "width": int(w), "height": int(h), "file_name": f"{int(image)}"}
        for image, (w, h) in zip(images.ids, images.sizes, strict=True)
    ]
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(images.classes)]
    return {"images": records, "annotations": annotations, "categories": categories, "info": {}}


def coco_metrics(
    truth: dict[str, Any],
    found: list[dict[str, Any]],
    kinds: tuple[str, ...] = ("bbox", "segm"),
    evaluator: str = "hotcoco",
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """COCO metrics in percent, AP_bbox ... APl_segm, AP_keypoints, and AP per class and kind.

    A size bin or class without ground truth (pycocotools' -1) is left out. No detections: 0.
    evaluator: the library, "hotcoco" or "pycocotools"; their numbers are equal.
    """
    metrics: dict[str, float] = {}
    per_class: dict[str, dict[str, float]] = {}
    for kind in kinds:
        stats, precision = evaluate(truth, found, kind, evaluator)
        names = POINT_STATS if kind == "keypoints" else STATS
        for name, value in zip(names, stats, strict=False):
            if value > -1:
                metrics[f"{name}_{kind}"] = 100 * float(value)
        per_class[kind] = _per_class(precision, truth)
    return metrics, per_class


def evaluate(
    truth: dict[str, Any], found: list[dict[str, Any]], kind: str, evaluator: str = "pycocotools"
) -> tuple[np.ndarray, np.ndarray]:
    """(stats, precision) of COCOeval for a kind: the summary in pycocotools' order, and the table
    IoU x recall x class x area x detections."""
    run = evaluate_matched(truth, found, kind, evaluator)
    with contextlib.redirect_stdout(io.StringIO()):
        run.accumulate()
        run.summarize()
    return np.asarray(run.stats, np.float64), np.asarray(run.eval["precision"], np.float64)


def evaluate_matched(
    truth: dict[str, Any], found: list[dict[str, Any]], kind: str, evaluator: str
) -> Any:
    """The library's COCOeval after its matching: `evalImgs` has it by image, class and area.
    Keypoints that are not COCO's 17 have a sigma of .05 each."""
    mine = [{k: d[k] for k in ("image_id", "category_id", "score", FIELDS[kind])} for d in found]
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*kpt_oks_sigmas", category=UserWarning)
        run = (
            _hotcoco(truth, mine, kind)
            if evaluator == "hotcoco"
            else _pycocotools(truth, mine, kind)
        )
        points = [len(a["keypoints"]) // 3 for a in truth["annotations"][:1] if "keypoints" in a]
        if kind == "keypoints" and points and points[0] != len(run.params.kpt_oks_sigmas):
            run.params.kpt_oks_sigmas = np.full(points[0], OTHER_SIGMA)
        run.evaluate()
    return run


def _pycocotools(truth: dict[str, Any], found: list[dict[str, Any]], kind: str) -> Any:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    gold = COCO()
    gold.dataset = copy.deepcopy(truth)  # evaluation marks the annotations
    gold.createIndex()
    if found:
        return COCOeval(gold, gold.loadRes(copy.deepcopy(found)), kind)
    empty = COCO()
    empty.dataset = {**gold.dataset, "annotations": []}
    empty.createIndex()
    return COCOeval(gold, empty, kind)


def _hotcoco(truth: dict[str, Any], found: list[dict[str, Any]], kind: str) -> Any:
    import hotcoco

    gold = hotcoco.COCO(truth)
    return hotcoco.COCOeval(gold, gold.loadRes(found), kind)


def _per_class(precision: np.ndarray, truth: dict[str, Any]) -> dict[str, float]:
    table = precision[:, :, :, 0, -1]  # all areas, most detections
    names = {c["id"]: c["name"] for c in truth["categories"]}
    return {
        names[category]: 100 * float(table[:, :, at].mean())
        for at, category in enumerate(sorted(names))
        if (table[:, :, at] > -1).all()
    }
