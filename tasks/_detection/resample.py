"""A detector's average precision with images counted differently, from one matching.

COCO and VOC match detections with objects image by image, so what a detection is, right, wrong or
neither, does not depend on how often its image counts; only the curve over all detections does.
Detections of equal scores keep their order: an image's copies stand together.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from bench.contracts.context import StageContext
from bench.contracts.task import Scored
from bench.core.progress import Advance
from tasks._detection.evaluate import choose_evaluator, evaluate_matched
from tasks._detection.pipeline import prepare_split
from tasks._detection.protocol import DetectionParams, VocParams
from tasks._detection.records import Annotation, Detection, Truth
from tasks._detection.truth import read_truth
from tasks._detection.voc import Ranked, Rule, rank_detections, voc_means
from tasks._shared.counted import Counted

SHARE = 200  # images matched at a time: what a library says of each image takes much memory
RECALLS = np.linspace(0, 1, 101)  # where COCO reads the curve
# of IoU .5, .55, ..., .95
THRESHOLDS = {"AP": slice(None), "AP50": slice(0, 1), "AP75": slice(5, 6)}
SIZES = "APs", "APm", "APl"  # beside all areas; keypoints lack the first


def rescore(ctx: StageContext, p: DetectionParams) -> Scored:
    """The metrics of a finished evaluation as functions of how often each image counts."""
    images = prepare_split(ctx.images("data", "val"), p)
    detections: list[Detection] = json.loads((ctx.work / "detections.json").read_text())
    metrics: dict[str, Counted]
    if isinstance(p, VocParams):
        classes = rank_detections(images, detections)
        metrics = {
            name: partial(_score_voc, classes, p.ap_rule, name) for name in ("AP", "AP50", "AP75")
        }
        return Scored(images.ids, metrics)
    truth, evaluator = read_truth(images, ctx.inputs.get("annotations")), choose_evaluator(p)
    metrics = {}
    for kind in p.kinds:
        advance = ctx.progress.task(f"match {kind}", len(images))
        metrics |= count_coco(truth, detections, kind, evaluator, advance)
        ctx.progress.drop(advance)
    return Scored(images.ids, metrics)


def count_coco(
    truth: Truth,
    detections: list[Detection],
    kind: str,
    evaluator: str,
    advance: Advance = lambda n: None,
) -> dict[str, Counted]:
    """Those of `AP_bbox` ... `APl_bbox` (or another kind's) that have objects, of counts in the
    order of the images of `truth`."""
    everything, *sizes = match_images(truth, detections, kind, evaluator, advance)
    parts = {name: (everything, thresholds) for name, thresholds in THRESHOLDS.items()}
    parts |= {
        name: (part, slice(None)) for name, part in zip(SIZES[-len(sizes) :], sizes, strict=True)
    }
    return {
        f"{name}_{kind}": partial(_score_coco, *part) for name, part in parts.items() if part[0]
    }


@dataclass(frozen=True)
class Matched:
    """A class's detections in falling order of score, M of them, in N images.

    image: (M,) positions. right, wrong: (10, M) bool for the ten thresholds of IoU; neither where
    a detection does not count. objects: (N,) how many there are to find.
    """

    image: np.ndarray
    right: np.ndarray
    wrong: np.ndarray
    objects: np.ndarray


def match_images(
    truth: Truth, detections: list[Detection], kind: str, evaluator: str, advance: Advance
) -> list[list[Matched]]:
    """COCO's matching, of each of its ranges of area the classes that have objects in it."""
    place = {image["id"]: i for i, image in enumerate(truth["images"])}
    parts: dict[tuple[int, int], list[tuple[np.ndarray, ...]]] = {}
    classes: list[list[Matched]] = []
    for some, part in _split_images(truth, detections):
        run = evaluate_matched(some, part, kind, evaluator)
        areas = [tuple(map(float, r)) for r in run.params.areaRng]
        classes = classes or [[] for _ in areas]
        fresh: dict[tuple[int, int], list[dict[str, Any]]] = {}
        for one in filter(None, run.evalImgs):
            key = areas.index(tuple(map(float, one["aRng"]))), one["category_id"]
            fresh.setdefault(key, []).append(one)
        for key, ones in fresh.items():
            parts.setdefault(key, []).append(_collect(ones, place))
        advance(len(some["images"]))
    for (area, _), group in sorted(parts.items(), key=lambda x: x[0]):
        image, scores, hit, ignored, at, wanted = (
            np.concatenate(x, -1) for x in zip(*group, strict=True)
        )
        objects = np.bincount(at, wanted, len(place)).astype(np.int64)
        if objects.any():
            order = np.argsort(-scores, kind="stable")
            right, wrong = hit & ~ignored, ~hit & ~ignored
            classes[area].append(Matched(image[order], right[:, order], wrong[:, order], objects))
    return classes


def _split_images(
    truth: Truth, detections: list[Detection]
) -> Iterator[tuple[Truth, list[Detection]]]:
    """Truth and detections of `SHARE` images at a time, in the order of their ids, in which COCO
    takes detections of equal scores."""
    images = sorted(truth["images"], key=lambda image: int(image["id"]))
    annotated: dict[int, list[Annotation]] = {}
    detected: dict[int, list[Detection]] = {}
    for annotation in truth["annotations"]:
        annotated.setdefault(annotation["image_id"], []).append(annotation)
    for detection in detections:
        detected.setdefault(detection["image_id"], []).append(detection)
    for start in range(0, len(images), SHARE):
        some = images[start : start + SHARE]
        annotations = [one for i in some for one in annotated.get(i["id"], ())]
        part = [one for i in some for one in detected.get(i["id"], ())]
        yield {**truth, "images": some, "annotations": annotations}, part


def _collect(ones: list[dict[str, Any]], place: dict[int, int]) -> tuple[np.ndarray, ...]:
    """Of the evaluated images of a class: each detection's image (m,), score (m,), whether it hit
    and whether it is ignored, (10, m); each image's position (n,), and how many objects it has to
    find (n,)."""
    ones = sorted(ones, key=lambda one: int(one["image_id"]))
    at = np.array([place[int(one["image_id"])] for one in ones])
    scores = [np.asarray(one["dtScores"], np.float64) for one in ones]
    hit, ignored = (
        np.concatenate([np.asarray(one[name]).reshape(10, -1) for one in ones], 1) > 0
        for name in ("dtMatches", "dtIgnore")
    )
    wanted = np.array([(~np.asarray(one["gtIgnore"], bool)).sum() for one in ones])
    return (
        np.repeat(at, [len(s) for s in scores]),
        np.concatenate(scores),
        hit,
        ignored,
        at,
        wanted,
    )


def _score_coco(classes: list[Matched], thresholds: slice, counts: np.ndarray) -> float:
    """Mean average precision in percent; a class without objects in the images that count is left
    out."""
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


def _score_voc(classes: list[Ranked], rule: Rule, name: str, counts: np.ndarray) -> float:
    return voc_means(classes, rule, counts)[0].get(name, 0.0)
