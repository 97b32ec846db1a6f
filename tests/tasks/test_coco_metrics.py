"""COCO's AP by the fast library against pycocotools: crowds, ties, empty images, every form of
mask."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tasks._detection.evaluate import coco_metrics, evaluate
from tasks._detection.truth import ground_truth
from tests.small_set import SmallSet

SIDE = (120, 160)
POINTS = 17


def polygon(x: float, y: float, w: float, h: float) -> list[list[float]]:
    return [[x, y, x + w, y + h * 0.2, x + w * 0.8, y + h, x + w * 0.1, y + h * 0.7]]


def runs(mask: np.ndarray) -> list[int]:
    """Uncompressed RLE: lengths of runs down the columns, of zeros first."""
    flat = np.concatenate([[0], mask.ravel(order="F"), [2]])
    edges = np.flatnonzero(np.diff(flat.astype(int)))
    found = np.diff(np.concatenate([[0], edges]))
    return [int(v) for v in found]


def segmentation(form: str, box: tuple[float, float, float, float]) -> Any:
    if form == "polygon":
        return polygon(*box)
    rle = coco_mask.merge(coco_mask.frPyObjects(polygon(*box), *SIDE))
    if form == "compressed":
        return {"size": list(SIDE), "counts": rle["counts"].decode()}
    return {"size": list(SIDE), "counts": runs(coco_mask.decode(rle))}


def random_case(seed: int, points: int = 0) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Objects of all sizes, a fifth of them crowds; detections near them with scores of one
    decimal, some images with more than 100 of a class; images without objects, without detections,
    without both."""
    rng = np.random.default_rng(seed)
    images = [
        {"id": 7 * i + 3, "height": SIDE[0], "width": SIDE[1], "file_name": f"{i}"}
        for i in range(24)
    ]
    classes = 1 if points else 4
    truth: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for at, image in enumerate(images[:-2]):
        for _ in range(0 if at % 7 == 0 else int(rng.integers(1, 7))):
            w, h = (float(v) for v in np.exp(rng.uniform(np.log(5), np.log(110), 2)))
            x, y = float(rng.uniform(0, SIDE[1] - w)), float(rng.uniform(0, SIDE[0] - min(h, 110)))
            h = min(h, SIDE[0] - y)
            crowd = int(rng.random() < 0.2)
            form = "uncompressed" if crowd else str(rng.choice(["polygon", "compressed"]))
            made = {
                "id": len(truth) + 1,
                "image_id": image["id"],
                "category_id": int(rng.integers(classes)) + 1,
                "bbox": [x, y, w, h],
                "area": w * h * 0.7,
                "iscrowd": crowd,
                "segmentation": segmentation(form, (x, y, w, h)),
            }
            if points:
                places = np.stack(
                    [rng.uniform(x, x + w, points), rng.uniform(y, y + h, points)], 1
                )
                seen = rng.integers(0, 3, points) * (rng.random() > 0.15)
                flat = np.concatenate([places * (seen > 0)[:, None], seen[:, None]], 1)
                made |= {
                    "keypoints": flat.ravel().tolist(),
                    "num_keypoints": int((seen > 0).sum()),
                }
            truth.append(made)
            if at % 5 == 1:
                continue
            for _ in range(120 if at == 4 else int(rng.integers(0, 4))):
                found.append(detection(rng, made, classes, points))
    found += [
        {**found[0], "image_id": images[-1]["id"]},
        {**found[1], "image_id": images[0]["id"]},
    ]
    # the last has no object
    categories = [{"id": i + 1, "name": f"c{i}"} for i in range(classes + 1)]
    return {"images": images, "annotations": truth, "categories": categories, "info": {}}, found


def detection(
    rng: np.random.Generator, gold: dict[str, Any], classes: int, points: int
) -> dict[str, Any]:
    x, y, w, h = gold["bbox"]
    box = (max(x + rng.normal(0, w * 0.1), 0), max(y + rng.normal(0, h * 0.1), 0), w, h)
    if rng.random() < 0.2:
        box = (x, y, w, h)  # equal overlaps
    label = gold["category_id"] if rng.random() < 0.9 else int(rng.integers(classes)) + 1
    made = {
        "image_id": gold["image_id"],
        "category_id": label,
        "bbox": [float(v) for v in box],
        "score": float(rng.integers(0, 11)) / 10,
        "segmentation": segmentation("compressed", tuple(float(v) for v in box)),  # type: ignore[arg-type]
    }
    if points:
        places = np.array(gold["keypoints"]).reshape(-1, 3).copy()
        places[:, :2] += rng.normal(0, 0.06 * np.sqrt(w * h), (points, 2))
        places[:, 2] = 1
        made["keypoints"] = places.ravel().tolist()
    return made


@pytest.mark.parametrize("kind", ["bbox", "segm", "keypoints"])
@pytest.mark.parametrize("seed", range(3))
def test_equal_to_pycocotools(kind: str, seed: int) -> None:
    truth, found = random_case(seed, POINTS if kind == "keypoints" else 0)
    assert max(np.bincount([d["image_id"] for d in found])) > 100
    before = copy.deepcopy((truth, found))
    stats, table = evaluate(truth, found, kind, "hotcoco")
    reference, reference_table = evaluate(truth, found, kind, "pycocotools")
    assert (truth, found) == before
    assert table.shape == reference_table.shape
    assert np.abs(stats - reference).max() < 1e-6
    assert np.abs(table - reference_table).max() < 1e-6
    assert 0.02 < reference[0] < 0.98


def test_equal_where_the_keypoints_are_not_cocos() -> None:
    """hotcoco's warning of other sigmas than COCO's does not reach the user."""
    truth, found = random_case(5, 5)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*kpt_oks_sigmas")
        stats, _ = evaluate(truth, found, "keypoints", "hotcoco")
    reference, _ = evaluate(truth, found, "keypoints", "pycocotools")
    assert np.abs(stats - reference).max() < 1e-6
    assert reference[0] > 0.02


@pytest.mark.parametrize("evaluator", ["hotcoco", "pycocotools"])
def test_metrics_of_each_kind(evaluator: str) -> None:
    truth, found = random_case(1, POINTS)
    metrics, per_class = coco_metrics(truth, found, ("keypoints", "bbox"), evaluator)
    assert {"AP_keypoints", "AP50_keypoints", "AP75_keypoints", "AP_bbox"} <= set(metrics)
    assert "APs_keypoints" not in metrics  # COCO leaves small persons out
    assert per_class["bbox"] == {"c0": pytest.approx(metrics["AP_bbox"])}
    assert coco_metrics(truth, [], ("keypoints",), evaluator)[0]["AP_keypoints"] == 0


@pytest.mark.parametrize("evaluator", ["hotcoco", "pycocotools"])
def test_perfect_and_shifted_keypoints(evaluator: str) -> None:
    """OKS of a keypoint off by d is exp(-d^2 / (2 area (2 sigma)^2)): for a nose (sigma .026) on
    an object of area 10,000, 4 pixels off are an OKS of .744, above five of the ten thresholds .50
    to .95."""
    place = [50.0, 60.0, 2.0] + [0.0] * 48
    gold = {
        "id": 1,
        "image_id": 1,
        "category_id": 1,
        "bbox": [0.0, 0.0, 100.0, 100.0],
        "area": 10_000.0,
        "iscrowd": 0,
        "keypoints": place,
        "num_keypoints": 1,
        "segmentation": [],
    }
    truth = {
        "images": [{"id": 1, "width": 120, "height": 120, "file_name": "1"}],
        "annotations": [gold],
        "categories": [{"id": 1, "name": "person"}],
        "info": {},
    }
    made = {"image_id": 1, "category_id": 1, "score": 0.9, "bbox": [0.0, 0.0, 100.0, 100.0]}
    perfect = {**made, "keypoints": [50.0, 60.0, 1.0] + [0.0, 0.0, 1.0] * 16}
    assert coco_metrics(truth, [perfect], ("keypoints",), evaluator)[0][
        "AP_keypoints"
    ] == pytest.approx(100)
    oks = np.exp(-(4.0**2) / (2 * 10_000 * (2 * 0.026) ** 2))
    shifted = {**made, "keypoints": [54.0, 60.0, 1.0] + [0.0, 0.0, 1.0] * 16}
    expected = 100 * np.mean(oks >= np.arange(50, 100, 5) / 100)
    found = coco_metrics(truth, [shifted], ("keypoints",), evaluator)[0]["AP_keypoints"]
    assert found == pytest.approx(expected)
    assert expected == 50


@pytest.mark.parametrize("seed", range(4))
def test_metrics_equal_pycocotools_run_directly(seed: int, tmp_path: Path) -> None:
    truth, found = random_case(seed)
    metrics, per_class = coco_metrics(truth, found)
    file = tmp_path / "gt.json"
    file.write_text(json.dumps(truth))
    with contextlib.redirect_stdout(io.StringIO()):
        gold = COCO(str(file))
        for kind in ("bbox", "segm"):
            # with boxes, masks' areas would be theirs
            other = {"bbox": "segmentation", "segm": "bbox"}[kind]
            results = [{k: v for k, v in d.items() if k != other} for d in found]
            evaluation = COCOeval(gold, gold.loadRes(results), kind)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
            for name, value in zip(
                ("AP", "AP50", "AP75", "APs", "APm", "APl"), evaluation.stats, strict=False
            ):
                if value == -1:
                    assert f"{name}_{kind}" not in metrics
                else:
                    assert metrics[f"{name}_{kind}"] == pytest.approx(100 * value, abs=1e-6)
            mean = np.mean(list(per_class[kind].values()))
            assert mean == pytest.approx(metrics[f"AP_{kind}"], abs=1e-6)


def test_no_detections_is_zero() -> None:
    truth, _ = random_case(0)
    metrics, _ = coco_metrics(truth, [])
    assert metrics["AP_bbox"] == metrics["AP_segm"] == 0


def test_perfect_detections_are_100(tmp_path: Path) -> None:
    images = SmallSet(tmp_path, 6)
    truth = ground_truth(images)
    found = [
        {k: a[k] for k in ("image_id", "category_id", "bbox", "segmentation")} | {"score": 0.9}
        for a in truth["annotations"]
    ]
    metrics, _ = coco_metrics(truth, found)
    assert metrics["AP_bbox"] == pytest.approx(100)
    assert metrics["AP_segm"] == pytest.approx(100)
