"""COCO's evaluation against answers of pycocotools that were computed once
(tests/fixtures/make_coco.py)."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks._detection.evaluate import coco_metrics, evaluate

FOLDER = Path(__file__).resolve().parents[1] / "fixtures" / "coco"
CASES = [("objects", "bbox"), ("objects", "segm"), ("persons", "keypoints"), ("persons", "bbox")]
NAMES = {
    "bbox": ("AP", "AP50", "AP75", "APs", "APm", "APl"),
    "segm": ("AP", "AP50", "AP75", "APs", "APm", "APl"),
    "keypoints": ("AP", "AP50", "AP75", "APm", "APl"),
}
NEAR = 1e-9
Record = dict[str, Any]

both_evaluators = pytest.mark.parametrize("evaluator", ["hotcoco", "pycocotools"])
all_cases = pytest.mark.parametrize(("name", "kind"), CASES)


def load_case(name: str) -> tuple[Any, list[Any]]:
    case = json.loads(gzip.decompress((FOLDER / f"{name}.json.gz").read_bytes()))
    return case["truth"], case["detections"]


def load_answer(name: str, kind: str, what: str) -> np.ndarray:
    with np.load(FOLDER / "answers.npz", allow_pickle=False) as answers:
        return np.asarray(answers[f"{name}.{kind}.{what}"])


@both_evaluators
@all_cases
def test_summary_and_precision_are_the_official_tools(
    name: str, kind: str, evaluator: str
) -> None:
    """All 12 (keypoints: 10) numbers, and precision by IoU, recall, class, area and count."""
    stats, precision = evaluate(*load_case(name), kind, evaluator)
    np.testing.assert_allclose(stats, load_answer(name, kind, "stats"), rtol=0, atol=NEAR)
    answer = load_answer(name, kind, "precision")
    np.testing.assert_allclose(precision, answer, rtol=0, atol=NEAR)


@both_evaluators
@all_cases
def test_metrics_have_the_official_tools_numbers(name: str, kind: str, evaluator: str) -> None:
    """In percent by name; a class without objects has no AP."""
    truth, detections = load_case(name)
    metrics, per_class = coco_metrics(truth, detections, (kind,), evaluator)
    stats = load_answer(name, kind, "stats")
    answers = {f"{n}_{kind}": 100 * v for n, v in zip(NAMES[kind], stats, strict=False)}
    assert metrics == pytest.approx(answers, abs=100 * NEAR)
    table = load_answer(name, kind, "precision")[:, :, :, 0, -1]
    classes = [c["name"] for c in truth["categories"]]
    means = {n: 100 * table[:, :, i].mean() for i, n in enumerate(classes[:-1])}
    assert per_class[kind] == pytest.approx(means, abs=100 * NEAR)


def test_cases_have_what_is_hard() -> None:
    """Crowds, ties, empty images, areas at the limits, more than 100 detections of an image, a
    class without objects, persons without a labelled point."""
    for name in ("objects", "persons"):
        truth, detections = load_case(name)
        annotations: list[Record] = truth["annotations"]
        assert any(a["iscrowd"] for a in annotations)
        areas = {a["area"] for a in annotations}
        assert {32.0**2, 31.0 * 33.0, 96.0**2, 95.0 * 97.0} <= areas
        images = {i["id"] for i in truth["images"]}
        annotated, detected = (
            {r["image_id"] for r in records} for records in (annotations, detections)
        )
        assert detected - annotated  # detections where there is no object
        assert images - annotated - detected
        assert annotated - detected
        assert max(Counter(d["image_id"] for d in detections).values()) > 100
        scores = Counter((d["image_id"], d["score"]) for d in detections)
        assert max(scores.values()) > 1
        assert {a["category_id"] for a in annotations} < {c["id"] for c in truth["categories"]}
    persons = load_case("persons")[0]["annotations"]
    assert {0} < {p["num_keypoints"] for p in persons}
