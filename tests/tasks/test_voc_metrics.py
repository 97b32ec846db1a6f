"""VOC's average precision against a plainly written evaluator, scikit-learn, hand cases and
detectron2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from bench.contracts.images import ImageSet, Objects
from tasks._detection.voc import average_precision, measure_overlaps, voc_metrics

CLASSES = ["bird", "cat", "dog"]


class Written(ImageSet):
    """Objects given as they stand in VOC's XML: per image a list of (class, difficult, corners
    from 1)."""

    def __init__(self, described: list[list[tuple[int, bool, list[int]]]]) -> None:
        self.name, self.split, self.classes = "written", "val", CLASSES
        self.described = described
        self.ids = np.arange(len(described)) * 3 + 5
        self.sizes = np.full((len(described), 2), 200)

    def objects(self, index: int) -> Objects:
        rows = self.described[index]
        boxes = np.array([c for _, _, c in rows], np.float32).reshape(-1, 4) - (1, 1, 0, 0)
        labels = np.array([k for k, _, _ in rows], np.int64)
        difficult = np.array([d for _, d, _ in rows], bool)
        zero = np.zeros(len(rows))
        return Objects(
            boxes.astype(np.float32), labels, zero > 0, difficult, zero, zero.astype(np.int64)
        )


def random_case(seed: int, ties: bool) -> tuple[Written, list[dict[str, Any]]]:
    """Objects and detections near them, misses, doubles, wrong classes, difficult objects, empty
    images."""
    rng = np.random.default_rng(seed)
    described: list[list[tuple[int, bool, list[int]]]] = []
    found: list[dict[str, Any]] = []
    for image in range(15):
        rows: list[tuple[int, bool, list[int]]] = []
        for _ in range(int(rng.integers(0, 6))):
            x, y, w, h = (int(v) for v in rng.integers([1, 1, 5, 5], [120, 120, 70, 70]))
            rows.append((int(rng.integers(3)), bool(rng.random() < 0.25), [x, y, x + w, y + h]))
        described.append(rows)
        for k, _, (x1, y1, x2, y2) in rows:
            for _ in range(int(rng.integers(0, 4))):
                moved = np.array([x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1]) + rng.normal(0, 4, 4)
                label = k if rng.random() < 0.85 else int(rng.integers(3))
                found.append(
                    {"image_id": image * 3 + 5, "category_id": label + 1, "bbox": moved.tolist()}
                )
        if rng.random() < 0.4:
            found.append(
                {"image_id": image * 3 + 5, "category_id": 1, "bbox": [3.0, 4.0, 50.0, 20.0]}
            )
    scores = (
        rng.integers(0, 5, len(found)) / 5 if ties else rng.permutation(len(found)) / 1000 + 0.0001
    )
    for detection, score in zip(found, scores, strict=True):
        detection["score"] = float(score)
    return Written(described), found


def plain(
    images: Written, found: list[dict[str, Any]], k: int, threshold: float, rule: str
) -> float:
    """The development kit's procedure, one detection after another."""
    wanted, taken = 0, {}
    for i, rows in enumerate(images.described):
        for j, (label, difficult, _) in enumerate(rows):
            wanted += label == k and not difficult
            taken[i, j] = False
    mine = [d for d in found if d["category_id"] - 1 == k]
    mine.sort(key=lambda d: -round(d["score"], 3))
    tp = fp = 0
    recall, precision = [], []
    for d in mine:
        i = list(images.ids).index(d["image_id"])
        x, y, w, h = d["bbox"]
        a = [round(v, 1) for v in (x + 1, y + 1, x + w, y + h)]
        best, which = -1.0, -1
        for j, (label, _, b) in enumerate(images.described[i]):
            if label != k:
                continue
            iw = max(min(a[2], b[2]) - max(a[0], b[0]) + 1, 0)
            ih = max(min(a[3], b[3]) - max(a[1], b[1]) + 1, 0)
            one = (a[2] - a[0] + 1) * (a[3] - a[1] + 1)
            other = (b[2] - b[0] + 1) * (b[3] - b[1] + 1)
            iou = iw * ih / (one + other - iw * ih)
            if iou > best:
                best, which = iou, j
        if best > threshold and images.described[i][which][1]:
            pass  # a difficult object: neither right nor wrong
        elif best > threshold and not taken[i, which]:
            taken[i, which] = True
            tp += 1
        else:
            fp += 1
        recall.append(tp / wanted)
        precision.append(tp / max(tp + fp, 1e-300))
    return summarise(recall, precision, rule)


def summarise(recall: list[float], precision: list[float], rule: str) -> float:
    if rule == "11_points":
        points = np.arange(0.0, 1.1, 0.1)
        tops = [
            max((p for p, r in zip(precision, recall, strict=True) if r >= t), default=0)
            for t in points
        ]
        return sum(tops) / 11
    area, last = 0.0, 0.0
    for n, r in enumerate(recall):
        area += (r - last) * max(precision[n:])
        last = r
    return area


@pytest.mark.parametrize("rule", ["11_points", "area"])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_equal_to_the_procedure_written_out(seed: int, ties: bool, rule: Any) -> None:
    images, found = random_case(seed, ties)
    metrics, per_class = voc_metrics(images, found, rule)
    table = np.array(
        [[plain(images, found, k, t / 100, rule) for t in range(50, 100, 5)] for k in range(3)]
    )
    assert metrics["AP"] == pytest.approx(100 * table.mean(), abs=1e-9)
    assert metrics["AP50"] == pytest.approx(100 * table[:, 0].mean(), abs=1e-9)
    assert metrics["AP75"] == pytest.approx(100 * table[:, 5].mean(), abs=1e-9)
    for k, name in enumerate(CLASSES):
        assert per_class[name]["AP"] == pytest.approx(100 * table[k].mean(), abs=1e-9)
    assert 1 < metrics["AP"] < metrics["AP50"] < 99


def test_equal_to_detectron2(tmp_path: Path) -> None:
    """Its evaluator of one class and threshold, on files in VOC's layout; scores differ, since it
    sorts ties in no particular order."""
    theirs = pytest.importorskip("detectron2.evaluation.pascal_voc_evaluation")
    for seed in range(3):
        images, found = random_case(seed, ties=False)
        folder = tmp_path / str(seed)
        write_for_detectron2(folder, images, found)
        for rule in ("11_points", "area"):
            _, per_class = voc_metrics(images, found, rule)  # type: ignore[arg-type]
            for name in CLASSES:
                aps = [
                    theirs.voc_eval(
                        str(folder / "found_{}.txt"),
                        str(folder / "{}.xml"),
                        str(folder / "set.txt"),
                        name,
                        t / 100,
                        rule == "11_points",
                    )[2]
                    for t in range(50, 100, 5)
                ]
                assert per_class[name]["AP"] == pytest.approx(100 * np.mean(aps), abs=1e-9)
                assert per_class[name]["AP50"] == pytest.approx(100 * aps[0], abs=1e-9)


def write_for_detectron2(folder: Path, images: Written, found: list[dict[str, Any]]) -> None:
    folder.mkdir()
    (folder / "set.txt").write_text("\n".join(map(str, images.ids)))
    for image, rows in zip(images.ids, images.described, strict=True):
        objects = "".join(
            f"<object><name>{CLASSES[k]}</name><pose>Left</pose><truncated>0</truncated><difficult>{int(d)}"
            f"</difficult><bndbox><xmin>{c[0]}</xmin><ymin>{c[1]}</ymin><xmax>{c[2]}</xmax><ymax>{c[3]}</ymax>"
            "</bndbox></object>"
            for k, d, c in rows
        )
        (folder / f"{image}.xml").write_text(f"<annotation>{objects}</annotation>")
    for k, name in enumerate(CLASSES):
        lines = []
        for d in found:
            if d["category_id"] - 1 == k:
                x, y, w, h = d["bbox"]
                corners = f"{x + 1:.1f} {y + 1:.1f} {x + w:.1f} {y + h:.1f}"
                lines.append(f"{d['image_id']} {d['score']:.3f} {corners}")
        (folder / f"found_{name}.txt").write_text("\n".join(lines))


def test_by_hand() -> None:
    """Two objects; found, a miss, found: precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1."""
    recall, precision = np.array([0.5, 0.5, 1.0]), np.array([1.0, 0.5, 2 / 3])
    assert average_precision(recall, precision, "11_points") == pytest.approx((6 + 5 * 2 / 3) / 11)
    assert average_precision(recall, precision, "area") == pytest.approx(0.5 + 0.5 * 2 / 3)
    none = np.zeros(0)
    assert average_precision(none, none, "11_points") == average_precision(none, none, "area") == 0


def test_area_where_precision_only_falls_is_scikit_learns() -> None:
    right = np.array([1, 1, 0, 1, 0, 0, 1, 0, 0, 0])
    tp = right.cumsum()
    recall, precision = tp / right.sum(), tp / np.arange(1, 11)
    falling = average_precision_score(right, -np.arange(10))
    assert average_precision(recall, precision, "area") == pytest.approx(falling)


def test_a_pixel_is_one_wide() -> None:
    boxes = np.array([[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 2.0, 1.0]])
    assert measure_overlaps(boxes, boxes).tolist() == [[1.0, 0.5], [0.5, 1.0]]


def test_difficult_objects_are_neither_wanted_nor_wrong() -> None:
    images = Written(
        [[(0, False, [1, 1, 50, 50]), (0, True, [60, 60, 100, 100])], [(1, True, [5, 5, 20, 20])]]
    )
    hit = {"image_id": 5, "category_id": 1, "bbox": [0, 0, 50, 50], "score": 0.5}
    hard = {"image_id": 5, "category_id": 1, "bbox": [59, 59, 41, 41], "score": 0.9}
    metrics, per_class = voc_metrics(images, [hit, hard])
    assert metrics == {
        "AP": pytest.approx(100),
        "AP50": pytest.approx(100),
        "AP75": pytest.approx(100),
    }
    assert list(per_class) == ["bird"]  # cat has only a difficult object, dog none
    wrong = {"image_id": 8, "category_id": 1, "bbox": [0, 0, 9, 9], "score": 0.99}
    assert voc_metrics(images, [hit, hard, wrong])[0]["AP50"] == pytest.approx(50)
    twice = {**hit, "score": 0.6}
    assert voc_metrics(images, [hit, twice], "area")[0]["AP50"] == pytest.approx(100)
    assert voc_metrics(images, [])[0]["AP"] == 0


def test_the_overlap_must_exceed_the_threshold() -> None:
    images = Written([[(0, False, [1, 1, 10, 10])]])
    half = {"image_id": 5, "category_id": 1, "bbox": [0, 0, 5, 10], "score": 0.5}  # IoU exactly .5
    assert voc_metrics(images, [half])[0]["AP50"] == 0
    more = {**half, "bbox": [0, 0, 6, 10]}
    assert voc_metrics(images, [more])[0]["AP50"] == pytest.approx(100)
