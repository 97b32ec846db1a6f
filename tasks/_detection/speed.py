"""COCO evaluation of made-up detections, ours against pycocotools', for `bench perf eval`."""

from __future__ import annotations

import contextlib
import copy
import io
from functools import partial
from typing import Any, cast

import numpy as np

from bench.measure.evaluation_speed import Work
from tasks._detection.evaluate import evaluate
from tasks._detection.records import Annotation, Detection, Truth

# images x detections an image, of boxes, masks and keypoints
SIZES = {"tiny": (10, 4, 4), "small": (200, 50, 50), "paper": (2000, 200, 500)}
DETECTIONS = {"tiny": 10, "small": 100, "paper": 100}
HEIGHT, WIDTH, CLASSES, POINTS, OBJECTS = 480, 640, 80, 17, 7
TOLERANCE = 1e-6  # of precision, in [0, 1]


def boxes_and_masks(scale: str) -> list[Work]:
    """Boxes at the full size, masks at a smaller one."""
    boxes, masks, _ = SIZES[scale]
    return [_work("bbox", boxes, DETECTIONS[scale]), _work("segm", masks, DETECTIONS[scale])]


def keypoints(scale: str) -> list[Work]:
    """Seventeen keypoints of one class."""
    return [_work("keypoints", SIZES[scale][2], 20)]


def _work(kind: str, images: int, per_image: int) -> Work:
    truth, detections = make_up_detections(kind, images, per_image)
    private = copy.deepcopy(truth)  # pycocotools writes into what it is given
    return Work(
        f"COCO {kind}",
        f"{images} images x {per_image} detections, {len(truth['categories'])} classes",
        partial(evaluate, truth, detections, kind, "hotcoco"),
        partial(evaluate_plainly, private, detections, kind),
        compare,
        TOLERANCE,
    )


def evaluate_plainly(
    truth: Truth, detections: list[Detection], kind: str
) -> tuple[np.ndarray, np.ndarray]:
    """As pycocotools' demo does it: (stats, precision). It adds to the records."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        gold = COCO()
        gold.dataset = truth
        gold.createIndex()
        run = COCOeval(gold, gold.loadRes([dict(one) for one in detections]), kind)
        run.evaluate()
        run.accumulate()
        run.summarize()
    return run.stats, run.eval["precision"]


def compare(
    ours: tuple[np.ndarray, ...], theirs: tuple[np.ndarray, ...]
) -> tuple[float, dict[str, float]]:
    """Over all numbers of the summary and of the precision table."""
    gap = max(float(np.abs(a - b).max()) for a, b in zip(ours, theirs, strict=True))
    return gap, {"AP": 100 * float(ours[0][0])}


def make_up_detections(
    kind: str, images: int, per_image: int, seed: int = 0
) -> tuple[Truth, list[Detection]]:
    """About 7 objects an image, a tenth of them crowds (not of keypoints); detections near
    objects, a tenth with another label, and elsewhere, with scores of three decimals."""
    rng = np.random.default_rng(seed)
    classes = 1 if kind == "keypoints" else CLASSES
    truth: Truth = {
        "images": [
            {"id": i + 1, "height": HEIGHT, "width": WIDTH, "file_name": ""} for i in range(images)
        ],
        "categories": [{"id": c + 1, "name": f"c{c}"} for c in range(classes)],
        "annotations": [],
        "info": {},
    }
    detections: list[Detection] = []
    for image in range(1, images + 1):
        objects = [
            _make_up_object(rng, kind, image, classes)
            for _ in range(int(rng.integers(0, 2 * OBJECTS + 1)))
        ]
        for annotation in objects:
            truth["annotations"].append({**annotation, "id": len(truth["annotations"]) + 1})
        detections += [
            _make_up_detection(rng, kind, image, classes, objects) for _ in range(per_image)
        ]
    return truth, detections


def _make_up_object(rng: np.random.Generator, kind: str, image: int, classes: int) -> Annotation:
    w, h = (float(v) for v in np.exp(rng.uniform(np.log(8), np.log(400), 2)))
    box = [float(rng.uniform(0, WIDTH - w)), float(rng.uniform(0, HEIGHT - h)), w, h]
    annotation = {
        "id": 0,
        "image_id": image,
        "category_id": int(rng.integers(classes)) + 1,
        "bbox": box,
        "area": 0.7 * w * h,
        "iscrowd": int(kind != "keypoints" and rng.random() < 0.1),
    }
    return cast(Annotation, annotation | _draw_shape(rng, kind, box))


def _draw_shape(rng: np.random.Generator, kind: str, box: list[float]) -> dict[str, Any]:
    from pycocotools import mask as coco_mask

    x, y, w, h = box
    if kind == "segm":
        outline = [x, y, x + w, y + 0.2 * h, x + 0.8 * w, y + h, x + 0.1 * w, y + 0.7 * h]
        [rle] = coco_mask.frPyObjects([outline], HEIGHT, WIDTH)
        return {"segmentation": {"size": [HEIGHT, WIDTH], "counts": rle["counts"].decode()}}
    if kind == "keypoints":
        places = np.stack([rng.uniform(x, x + w, POINTS), rng.uniform(y, y + h, POINTS)], 1)
        flat = np.concatenate([places, np.full((POINTS, 1), 2.0)], 1).ravel().tolist()
        return {"keypoints": flat, "num_keypoints": POINTS}
    return {}


def _make_up_detection(
    rng: np.random.Generator, kind: str, image: int, classes: int, objects: list[Annotation]
) -> Detection:
    gold = objects[int(rng.integers(len(objects)))] if objects and rng.random() < 0.5 else None
    near = gold if gold is not None else _make_up_object(rng, kind, image, classes)
    x, y, w, h = near["bbox"]
    box = [x + float(rng.normal(0, 0.1 * w)), y + float(rng.normal(0, 0.1 * h)), w, h]
    other = int(rng.integers(classes)) + 1
    detection: dict[str, Any] = {
        "image_id": image,
        "category_id": near["category_id"] if rng.random() < 0.9 else other,
        "score": float(rng.integers(0, 1001)) / 1000,
    }
    if kind == "bbox":
        return cast(Detection, detection | {"bbox": box})
    if kind == "segm":
        return cast(Detection, detection | _draw_shape(rng, kind, box))
    places = np.array(near["keypoints"]).reshape(-1, 3)
    places[:, :2] += rng.normal(0, 0.06 * np.sqrt(w * h), (POINTS, 2))
    return cast(Detection, detection | {"keypoints": places.ravel().tolist()})
