"""Semantic segmentation's metrics: confusion, IoU, accuracies."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix

from bench.core.errors import BadData
from tasks._segmentation.metrics import count_confusion, per_class, segmentation_metrics


def random_pixels(seed: int, classes: int = 5) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images of several sizes, (truth, prediction); class 3 is in neither, 4 only predicted."""
    rng = np.random.default_rng(seed)
    made = []
    for height, width in ((7, 9), (5, 4), (12, 3)):
        truth = rng.choice([0, 1, 2, 255], (height, width)).astype(np.uint8)
        wrong = rng.choice([0, 1, 2, 4], (height, width))
        found = np.where((rng.random(truth.shape) < 0.6) & (truth < 255), truth, wrong)
        made.append((truth, found.astype(np.int64)))
    return made


@pytest.mark.parametrize("seed", range(3))
def test_metrics_equal_scikit_learn_and_a_plain_loop(seed: int) -> None:
    images = random_pixels(seed)
    matrix = sum(
        count_confusion(torch.from_numpy(truth), torch.from_numpy(found), 5)
        for truth, found in images
    )
    there = np.concatenate([t.ravel() for t, _ in images])
    predicted = np.concatenate([f.ravel() for _, f in images])
    scored = there != 255
    expected = confusion_matrix(there[scored], predicted[scored], labels=range(5))
    assert np.array_equal(matrix, expected)
    ious, accuracies, right, total = [], [], 0, 0
    for c in range(5):
        hits = misses = alarms = 0
        for t, f in zip(there, predicted, strict=True):
            if t == 255:
                continue
            hits += int(t == c and f == c)
            misses += int(t == c and f != c)
            alarms += int(t != c and f == c)
        right, total = right + hits, total + hits + misses
        if hits + misses + alarms:
            ious.append(hits / (hits + misses + alarms))
        if hits + misses:
            accuracies.append(hits / (hits + misses))
    found_metrics = segmentation_metrics(np.asarray(matrix))
    assert found_metrics["mIoU"] == pytest.approx(100 * sum(ious) / 4, abs=1e-10)
    assert found_metrics["mAcc"] == pytest.approx(100 * sum(accuracies) / 3, abs=1e-10)
    assert found_metrics["aAcc"] == pytest.approx(100 * right / total, abs=1e-10)


def test_metrics_by_hand() -> None:
    matrix = np.array([[6, 2, 0, 0], [1, 3, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    found = segmentation_metrics(matrix)
    assert found["mIoU"] == pytest.approx(100 * (6 / 9 + 3 / 6) / 2)
    assert found["mAcc"] == pytest.approx(100 * (6 / 8 + 3 / 4) / 2)
    assert found["aAcc"] == pytest.approx(75.0)
    matrix[0, 2] = 4  # class 2 is predicted, and never there: IoU 0, no accuracy
    named = per_class(matrix, ["a", "b", "c", "d"])
    assert named["c"] == {"IoU": 0.0}
    assert named["d"] == {}
    assert segmentation_metrics(matrix)["mIoU"] == pytest.approx(100 * (6 / 13 + 3 / 6 + 0) / 3)


def test_no_scored_pixel_is_an_error() -> None:
    matrix = count_confusion(
        torch.full((4, 4), 255, dtype=torch.uint8), torch.zeros(4, 4, dtype=torch.long), 3
    )
    with pytest.raises(BadData, match="void everywhere"):
        segmentation_metrics(matrix)


def test_figures_of_a_class_are_percent() -> None:
    named = per_class(np.array([[6, 2], [1, 3]]), ["a", "b"])
    assert named["a"] == pytest.approx({"IoU": 100 * 6 / 9, "Acc": 75.0})
    assert named["b"] == pytest.approx({"IoU": 50.0, "Acc": 75.0})
