"""Metrics with images counted differently equal those of a set that holds the images so often."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import bootstrap

from bench.contracts.task import Scored
from bench.core.errors import BadInput
from bench.core.stage import Stage
from bench.measure.resampling import Finished, differences
from tasks._detection import resample
from tasks._detection.evaluate import coco_metrics
from tasks._detection.resample import count_coco
from tasks._detection.voc import rank_detections, voc_means, voc_metrics
from tasks._shared.counted import count_rows, load_kept, share
from tests.tasks.test_coco_metrics import POINTS, random_case
from tests.tasks.test_voc_metrics import Written
from tests.tasks.test_voc_metrics import random_case as random_voc


def repeated(
    truth: dict[str, Any], found: list[dict[str, Any]], counts: np.ndarray
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Every image so often, each copy with its own ids, after one another."""
    images, annotations, detections = [], [], []
    for at, image in enumerate(truth["images"]):
        for copy_number in range(counts[at]):
            name = 1000 * image["id"] + copy_number
            images.append({**image, "id": name})
            for a in truth["annotations"]:
                if a["image_id"] == image["id"]:
                    annotations.append(
                        {**copy.deepcopy(a), "image_id": name, "id": len(annotations) + 1}
                    )
            detections += [
                {**copy.deepcopy(d), "image_id": name}
                for d in found
                if d["image_id"] == image["id"]
            ]
    return {**truth, "images": images, "annotations": annotations}, detections


@pytest.mark.parametrize("evaluator", ["hotcoco", "pycocotools"])
@pytest.mark.parametrize("kind", ["bbox", "segm", "keypoints"])
def test_cocos_ap_is_pycocotools_of_the_repeated_images(
    kind: str, evaluator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many images are matched at a time."""
    monkeypatch.setattr(resample, "SHARE", 7)
    truth, found = random_case(3, POINTS if kind == "keypoints" else 0)
    ones = np.ones(len(truth["images"]), np.int64)
    expected, _ = coco_metrics(truth, found, (kind,), "pycocotools")
    tied = count_coco(truth, found, kind, evaluator)
    assert {name: metric(ones) for name, metric in tied.items()} == pytest.approx(
        expected, abs=1e-9
    )
    rng = np.random.default_rng(0)
    # how copies share a rank is nobody's rule
    for place, detection in enumerate(rng.permutation(found)):
        detection["score"] += 1e-6 * place
    metrics = count_coco(truth, found, kind, evaluator)
    for counts in (rng.integers(0, 4, len(ones)) for _ in range(3)):
        expected, _ = coco_metrics(*repeated(truth, found, counts), (kind,), "pycocotools")
        assert {"AP_" + kind, "APm_" + kind} <= set(expected) <= set(metrics)
        for name, value in expected.items():
            assert metrics[name](counts) == pytest.approx(value, abs=1e-9)
    alone = np.zeros_like(ones)
    assert metrics["AP_" + kind](alone) == 0.0  # no image at all


@pytest.mark.parametrize("rule", ["11_points", "area"])
@pytest.mark.parametrize("ties", [False, True])
def test_vocs_ap_is_that_of_the_repeated_images(ties: bool, rule: Any) -> None:
    images, found = random_voc(4, ties)
    classes = rank_detections(images, found)
    for seed in range(3):
        counts = np.random.default_rng(seed).integers(0, 4, len(images))
        many = Written(
            [d for d, n in zip(images.described, counts, strict=True) for _ in range(n)]
        )
        first = np.cumsum([0, *counts])
        detections = [
            {**d, "image_id": int(many.ids[first[at] + n])}
            for d in found
            for at in [list(images.ids).index(d["image_id"])]
            for n in range(counts[at])
        ]
        expected = voc_metrics(many, detections, rule)
        means, per_class = voc_means(classes, rule, counts)
        assert means == pytest.approx(expected[0])
        assert {k: pytest.approx(v) for k, v in expected[1].items()} == per_class
        assert 0 < expected[0]["AP"] < 100
    assert voc_means(classes, rule, np.zeros(len(images), np.int64)) == ({}, {})


def test_a_share_by_hand() -> None:
    right = np.array([True, False, True])
    assert share(right)(np.array([1, 1, 1])) == pytest.approx(200 / 3)
    assert share(right)(np.array([2, 3, 0])) == pytest.approx(40.0)
    rows = count_rows(lambda at: float("".join(map(str, at))))
    assert rows(np.array([0, 0, 3])) == 222.0
    assert rows(np.array([0, 2, 1])) == 112.0


def test_an_interval_is_scipys() -> None:
    rng = np.random.default_rng(1)
    right = [rng.random(300) < p for p in (0.4, 0.55)]
    members = []
    for n, r in enumerate(right):
        stage = Stage("evaluate", "knn", 1, {"n": n}, "")
        members.append(Finished(stage, "top1", Scored(np.arange(300), {"top1": share(r)})))
    told: list[int] = []
    (row,) = differences(members, ["top1"], 4000, 0, partial(told.append, 1))
    assert len(told) == 4001
    gain = 100.0 * (right[1].astype(float) - right[0])
    assert row["difference"] == pytest.approx(gain.mean())
    theirs = bootstrap((gain,), np.mean, n_resamples=4000, method="percentile", random_state=0)
    between = theirs.confidence_interval
    spread = between.high - between.low
    assert abs(row["low"] - between.low) < 0.05 * spread
    assert abs(row["high"] - between.high) < 0.05 * spread
    assert differences(members, ["top1"], 50, 3) == differences(members, ["top1"], 50, 3)
    assert differences(members, ["top1"], 50, 3) != differences(members, ["top1"], 50, 4)
    stage = Stage("evaluate", "knn", 1, {"n": 2}, "")
    elsewhere = Finished(stage, "top1", Scored(np.arange(1, 301), {"top1": share(right[0])}))
    with pytest.raises(BadInput, match="they scored different images"):
        differences([*members, elsewhere], ["top1"], 50, 3)


def test_what_an_older_result_lacks_is_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "cub-0123456789ab"
    folder.mkdir()
    with pytest.raises(BadInput, match=r"has no predictions\.npy.*bench show 0123456789ab"):
        load_kept(folder, "predictions.npy")
