"""Predictions in original coordinates, and COCO's metrics."""

from __future__ import annotations

import contextlib
import copy
import io
import warnings
from collections.abc import Iterator
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
from tasks._detection.data import TestImages, TestSample
from tasks._detection.masks import paste
from tasks._detection.protocol import CocoParams, DetectionParams
from tasks._detection.records import Detection, Metrics, PerClass, Truth

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
) -> list[Detection]:
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
    detections: list[Detection] = []
    for samples in data:
        (sample,) = samples
        (prediction,) = backend.predict(model, samples, device)
        detections += make_records(prediction, sample, int(images.ids[sample["index"]]))
        advance(1)
    return detections


def make_records(
    prediction: dict[str, torch.Tensor], sample: TestSample, image_id: int
) -> list[Detection]:
    """What an engine predicts of a sample of `TestImages`, in original pixels; boxes that the
    image's border leaves without area are dropped."""
    width, height = sample["original"]
    frame = (sample["image"].shape[-2], sample["image"].shape[-1])
    boxes = to_original(prediction["boxes"], frame, (width, height))
    keep = ((boxes[:, 2:] - boxes[:, :2]) > 0).all(1)
    boxes = boxes[keep].cpu()
    results: list[Detection] = [
        {
            "image_id": image_id,
            "category_id": int(label),
            "score": float(score),
            "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
        }
        for box, score, label in zip(
            boxes.tolist(),
            prediction["scores"][keep].tolist(),
            prediction["labels"][keep].tolist(),
            strict=True,
        )
    ]
    if "masks" in prediction:
        masks = paste(prediction["masks"][keep].cpu(), boxes, height, width)
        for result, mask in zip(results, masks.numpy().astype(np.uint8), strict=True):
            rle = coco_mask.encode(np.asfortranarray(mask))
            result["segmentation"] = {"size": [height, width], "counts": rle["counts"].decode()}
    if "keypoints" in prediction:
        scale = torch.tensor([width / frame[1], height / frame[0], 1.0])
        # COCO counts pixels
        points = prediction["keypoints"][keep].cpu() * scale - torch.tensor([0.5, 0.5, 0.0])
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


def choose_evaluator(p: DetectionParams) -> str:
    """The library that scores the protocol as COCO does; pycocotools where it names none."""
    return p.evaluator if isinstance(p, CocoParams) else "pycocotools"


def coco_metrics(
    truth: Truth,
    detections: list[Detection],
    kinds: tuple[str, ...] = ("bbox", "segm"),
    evaluator: str = "hotcoco",
) -> tuple[Metrics, PerClass]:
    """COCO metrics in percent, AP_bbox ... APl_segm, AP_keypoints, and AP per class and kind.

    A size bin or class without ground truth (pycocotools' -1) is left out. No detections: 0.
    evaluator: the library, "hotcoco" or "pycocotools"; their numbers are equal.
    """
    metrics: Metrics = {}
    per_class: PerClass = {}
    for kind in kinds:
        stats, precision = evaluate(truth, detections, kind, evaluator)
        names = POINT_STATS if kind == "keypoints" else STATS
        for name, value in zip(names, stats, strict=False):
            if value > -1:
                metrics[f"{name}_{kind}"] = 100 * float(value)
        per_class[kind] = _average_per_class(precision, truth)
    return metrics, per_class


def evaluate(
    truth: Truth, detections: list[Detection], kind: str, evaluator: str = "pycocotools"
) -> tuple[np.ndarray, np.ndarray]:
    """(stats, precision) of COCOeval for a kind: the summary in pycocotools' order, and the table
    IoU x recall x class x area x detections."""
    run = evaluate_matched(truth, detections, kind, evaluator)
    with _silence():
        run.accumulate()
        run.summarize()
    return np.asarray(run.stats, np.float64), np.asarray(run.eval["precision"], np.float64)


def evaluate_matched(truth: Truth, detections: list[Detection], kind: str, evaluator: str) -> Any:
    """The library's COCOeval after its matching: `evalImgs` has it by image, class and area.
    Keypoints that are not COCO's 17 have a sigma of .05 each."""
    fields = ("image_id", "category_id", "score", FIELDS[kind])
    mine = [{k: v for k, v in d.items() if k in fields} for d in detections]
    with _silence():
        run = (
            _match_with_hotcoco(truth, mine, kind)
            if evaluator == "hotcoco"
            else _match_with_pycocotools(truth, mine, kind)
        )
        points = [len(a["keypoints"]) // 3 for a in truth["annotations"][:1] if "keypoints" in a]
        if kind == "keypoints" and points and points[0] != len(run.params.kpt_oks_sigmas):
            run.params.kpt_oks_sigmas = np.full(points[0], OTHER_SIGMA)
        run.evaluate()
    return run


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Nothing of what the libraries print, nor hotcoco's warning of other sigmas than COCO's:
    docs/design/detection.md says what they mean for AP."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*kpt_oks_sigmas", category=UserWarning)
        yield


def _match_with_pycocotools(truth: Truth, records: list[dict[str, object]], kind: str) -> Any:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    gold = COCO()
    gold.dataset = copy.deepcopy(truth)  # evaluation marks the annotations
    gold.createIndex()
    if records:
        return COCOeval(gold, gold.loadRes(copy.deepcopy(records)), kind)
    empty = COCO()
    empty.dataset = {**gold.dataset, "annotations": []}
    empty.createIndex()
    return COCOeval(gold, empty, kind)


def _match_with_hotcoco(truth: Truth, records: list[dict[str, object]], kind: str) -> Any:
    import hotcoco

    gold = hotcoco.COCO(dict(truth))
    return hotcoco.COCOeval(gold, gold.loadRes(records), kind)


def _average_per_class(precision: np.ndarray, truth: Truth) -> Metrics:
    table = precision[:, :, :, 0, -1]  # all areas, most detections
    names = {c["id"]: c["name"] for c in truth["categories"]}
    return {
        names[category]: 100 * float(table[:, :, at].mean())
        for at, category in enumerate(sorted(names))
        if (table[:, :, at] > -1).all()
    }
