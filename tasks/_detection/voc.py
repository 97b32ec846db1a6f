"""PASCAL VOC's average precision, as the detection papers report it (detectron2's evaluator)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from bench.contracts.images import ImageSet, Objects
from tasks._detection.records import Detection, Metrics, PerClass

THRESHOLDS = np.arange(50, 100, 5) / 100
Rule = Literal["11_points", "area"]


def average_precision(recall: np.ndarray, precision: np.ndarray, rule: Rule) -> float:
    """AP of a curve in descending order of score, in 0..1.

    11_points (VOC2007): mean over r = 0, .1, ..., 1 of the largest precision at recall >= r, 0
    where there is none. area (VOC2010 on): area under the precision made non-increasing from the
    right.
    Source: Everingham et al. 2010, section 4.2, and the development kit of 2010.
    """
    if rule == "11_points":
        # the sums of floats that the published evaluators compare with
        points = np.arange(0.0, 1.1, 0.1)
        return float(np.mean([precision[recall >= r].max(initial=0.0) for r in points]))
    steps = np.concatenate([[0.0], recall, [1.0]])
    envelope = np.maximum.accumulate(np.concatenate([precision, [0.0]])[::-1])[::-1]
    return float((np.diff(steps) * envelope).sum())


def measure_overlaps(boxes: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(n, 4), (m, 4) -> (n, m) IoU of boxes whose corners are pixels inside them (so that a side
    is max - min + 1), as the development kit computes it."""
    low = np.maximum(boxes[:, None, :2], other[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], other[None, :, 2:])
    inter = np.maximum(high - low + 1, 0).prod(2)
    areas = [(b[:, 2:] - b[:, :2] + 1).prod(1) for b in (boxes, other)]
    iou: np.ndarray = inter / (areas[0][:, None] + areas[1] - inter)
    return iou


@dataclass(frozen=True)
class Ranked:
    """A class's detections in falling order of score, M of them, in N images.

    image: (M,) positions. iou: (M,) the highest IoU with an object of the class (-1: the image has
    none);
    number, difficult: (M,) which object that is, and whether it is difficult. objects: (N,) those
    to find.
    """

    name: str
    image: np.ndarray
    iou: np.ndarray
    number: np.ndarray
    difficult: np.ndarray
    objects: np.ndarray


def voc_metrics(
    images: ImageSet, detections: list[Detection], rule: Rule = "11_points"
) -> tuple[Metrics, PerClass]:
    """AP, AP50 and AP75 in percent, means over the classes, and the three per class.

    AP is the mean over the IoU thresholds .5, .55, ..., .95. A detection takes the object of its
    class with the highest IoU, if that is above the threshold: it is right if no detection of a
    higher score took it before; if the object is `difficult`, the detection does not count, and
    difficult objects are not missed. As detectron2 writes them, scores are rounded to 3 decimals
    and corners, counted from 1, to 1 decimal. Of equal scores the earlier detection comes first. A
    class without an object that is not difficult is left out. The detections are `predict`'s: bbox
    xywh in original pixels, category_id = label + 1.
    """
    return voc_means(rank_detections(images, detections), rule, np.ones(len(images), np.int64))


def rank_detections(images: ImageSet, detections: list[Detection]) -> list[Ranked]:
    """Detections by class, each beside the object that it could take."""
    position = {int(image): i for i, image in enumerate(images.ids)}
    truth = [images.objects(i) for i in range(len(images))]
    at = np.array([position[d["image_id"]] for d in detections], np.int64)
    label = np.array([d["category_id"] - 1 for d in detections], np.int64)
    score = np.array([float(f"{d['score']:.3f}") for d in detections])
    xywh = np.array([d["bbox"] for d in detections], np.float64).reshape(-1, 4)
    boxes = np.concatenate([xywh[:, :2] + 1, xywh[:, :2] + xywh[:, 2:]], 1)
    boxes = np.array([[float(f"{v:.1f}") for v in box] for box in boxes]).reshape(-1, 4)
    ranked = []
    for k, name in enumerate(images.classes):
        mine = [np.flatnonzero(t.labels == k) for t in truth]
        objects = np.array([(~t.difficult[m]).sum() for t, m in zip(truth, mine, strict=True)])
        rows = np.flatnonzero(label == k)
        rows = rows[np.argsort(-score[rows], kind="stable")]
        ranked.append(
            Ranked(name, at[rows], *_match_best(truth, mine, at[rows], boxes[rows]), objects)
        )
    return ranked


def voc_means(classes: list[Ranked], rule: Rule, counts: np.ndarray) -> tuple[Metrics, PerClass]:
    """`voc_metrics` where image i is in the set counts[i] times; counts (N,) int64."""
    per_class: PerClass = {}
    for c in classes:
        wanted = int((c.objects * counts).sum())
        if wanted:
            aps = [
                100 * average_precision(*_curve(c, t, counts, wanted), rule) for t in THRESHOLDS
            ]
            per_class[c.name] = {"AP": float(np.mean(aps)), "AP50": aps[0], "AP75": aps[5]}
    names = ("AP", "AP50", "AP75")
    metrics = (
        {n: float(np.mean([v[n] for v in per_class.values()])) for n in names} if per_class else {}
    )
    return metrics, per_class


def _match_best(
    truth: list[Objects], mine: list[np.ndarray], at: np.ndarray, boxes: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per detection the highest IoU with an object of its class (-1: the image has none), a number
    of that object, and whether it is difficult."""
    iou, number = np.full(len(at), -1.0), np.full(len(at), -1)
    difficult = np.zeros(len(at), bool)
    first = np.cumsum([0, *(len(m) for m in mine)])
    for image in np.unique(at):
        members = mine[image]
        if not len(members):
            continue
        rows = np.flatnonzero(at == image)
        corners = truth[image].boxes[members].astype(np.float64) + np.array([1, 1, 0, 0])
        table = measure_overlaps(boxes[rows], corners)
        chosen = table.argmax(1)
        iou[rows], number[rows] = table.max(1), first[image] + chosen
        difficult[rows] = truth[image].difficult[members[chosen]]
    return iou, number, difficult


def _curve(
    c: Ranked, threshold: float, counts: np.ndarray, wanted: int
) -> tuple[np.ndarray, np.ndarray]:
    """(recall, precision) of detections in descending order of score."""
    hit = c.iou > threshold
    claims = np.flatnonzero(hit & ~c.difficult)
    right = np.zeros(len(c.iou), bool)
    right[claims[np.unique(c.number[claims], return_index=True)[1]]] = True
    wrong = ~right & ~(hit & c.difficult)
    often = counts[c.image]
    tp, fp = (right * often).cumsum(), (wrong * often).cumsum()
    return tp / wanted, tp / np.maximum(tp + fp, np.finfo(np.float64).eps)
