"""A detector's average precision with images counted differently, from one matching.

COCO and VOC match detections with objects image by image, so what a detection is, right, wrong or neither,
does not depend on how often its image counts; only the curve over all detections does. Detections of equal
scores keep their order: an image's copies stand together.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from bench.data.base import ImageSet
from bench.engine.context import StageContext
from bench.task import Scored
from tasks._counted import Counted
from tasks._detection.evaluate import evaluated, ground_truth
from tasks._detection.pipeline import prepared
from tasks._detection.protocol import DetectionParams, VocParams
from tasks._detection.voc import ranked, voc_means

RECALLS = np.linspace(0, 1, 101)  # where COCO reads the curve
THRESHOLDS = {"AP": slice(None), "AP50": slice(0, 1), "AP75": slice(5, 6)}  # of IoU .5, .55, ..., .95
SIZES = (
    "APs",
    "APm",
    "APl",
)  # beside all areas; keypoints lack the first


def rescored(ctx: StageContext, p: DetectionParams) -> Scored:
    """The metrics of a finished evaluation as functions of how often each image counts."""
    images = prepared(ctx.images("data", "val"), p)
    return counted(images, json.loads((ctx.work / "detections.json").read_text()), p)


def counted(images: ImageSet, found: list[dict[str, Any]], p: DetectionParams) -> Scored:
    """The protocol's metrics of detections, as functions of how often each image counts."""
    if isinstance(p, VocParams):
        classes = ranked(images, found)
        return Scored(
            images.ids,
            {name: partial(_voc, classes, p.ap_rule, name) for name in ("AP", "AP50", "AP75")},
        )
    truth, evaluator = ground_truth(images), getattr(p, "evaluator", "pycocotools")
    metrics: dict[str, Counted] = {}
    for kind in p.kinds:
        metrics |= coco_counted(truth, found, kind, evaluator)
    return Scored(images.ids, metrics)


def coco_counted(
    truth: dict[str, Any], found: list[dict[str, Any]], kind: str, evaluator: str
) -> dict[str, Counted]:
    """Those of `AP_bbox` ... `APl_bbox` (or another kind's) that have objects, of counts in the order of the
    images of `truth`."""
    everything, *sizes = matches(truth, found, kind, evaluator)
    parts = {name: (everything, thresholds) for name, thresholds in THRESHOLDS.items()}
    parts |= {name: (part, slice(None)) for name, part in zip(SIZES[-len(sizes) :], sizes, strict=True)}
    return {f"{name}_{kind}": partial(_coco, *part) for name, part in parts.items() if part[0]}


@dataclass(frozen=True)
class Matched:
    """A class's detections in falling order of score, M of them, in N images.

    image: (M,) positions. right, wrong: (10, M) bool for the ten thresholds of IoU; neither where a detection
    does not count. objects: (N,) how many there are to find.
    """

    image: np.ndarray
    right: np.ndarray
    wrong: np.ndarray
    objects: np.ndarray


def matches(
    truth: dict[str, Any], found: list[dict[str, Any]], kind: str, evaluator: str
) -> list[list[Matched]]:
    """COCO's matching, of each of its ranges of area the classes that have objects in it."""
    run = evaluated(truth, found, kind, evaluator)
    place = {image["id"]: i for i, image in enumerate(truth["images"])}
    areas = [tuple(map(float, r)) for r in run.params.areaRng]
    made: list[list[Matched]] = [[] for _ in areas]
    parts: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for part in filter(None, run.evalImgs):
        parts.setdefault((areas.index(tuple(map(float, part["aRng"]))), part["category_id"]), []).append(part)
    for (area, _), group in sorted(parts.items(), key=lambda x: x[0]):
        group.sort(key=lambda part: int(part["image_id"]))  # of equal scores COCO takes the lower id first
        at = np.array([place[int(part["image_id"])] for part in group])
        scores = [np.asarray(part["dtScores"], np.float64) for part in group]
        order = np.argsort(-np.concatenate(scores), kind="stable")
        hit = _joined([np.asarray(part["dtMatches"]) > 0 for part in group], order)
        ignored = _joined([np.asarray(part["dtIgnore"], bool) for part in group], order)
        objects = np.zeros(len(place), np.int64)
        np.add.at(objects, at, [int((~np.asarray(part["gtIgnore"], bool)).sum()) for part in group])
        if objects.any():
            image = np.repeat(at, [len(s) for s in scores])[order]
            made[area].append(Matched(image, hit & ~ignored, ~hit & ~ignored, objects))
    return made


def _joined(tables: list[np.ndarray], order: np.ndarray) -> np.ndarray:
    """(10, m) of each image -> (10, M), in order."""
    return np.concatenate([t.reshape(10, -1) for t in tables], 1)[:, order]


def _coco(classes: list[Matched], thresholds: slice, counts: np.ndarray) -> float:
    """Mean average precision in percent; a class without objects in the images that count is left out."""
    means = []
    for c in classes:
        wanted = int((c.objects * counts).sum())
        if not wanted:
            continue
        often = counts[c.image]
        right, wrong = ((x[thresholds] * often).cumsum(1) for x in (c.right, c.wrong))
        precision = right / np.maximum(right + wrong, 1)
        best = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
        for recall, curve in zip(right / wanted, best, strict=True):
            at = np.searchsorted(recall, RECALLS, side="left")
            means.append(float(np.append(curve, 0.0)[at].mean()))
    return 100 * float(np.mean(means)) if means else 0.0


def _voc(classes: Any, rule: Any, name: str, counts: np.ndarray) -> float:
    return voc_means(classes, rule, counts)[0][name]
