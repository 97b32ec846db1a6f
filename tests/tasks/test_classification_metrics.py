"""Classification by fine-tuning: accuracies, average precisions and losses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, balanced_accuracy_score, top_k_accuracy_score

from bench.core.errors import BadData
from tasks._classification.metrics import class_recalls, multi_metrics, single_metrics
from tasks._classification.model import multi_loss


def random_scores(seed: int, n: int = 60, classes: int = 9) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, n - classes)])
    return labels, rng.normal(size=(n, classes)) + 1.5 * np.eye(classes)[labels]


@pytest.mark.parametrize("seed", range(3))
def test_accuracies_equal_scikit_learn(seed: int) -> None:
    labels, scores = random_scores(seed)
    found = single_metrics(labels, scores)
    assert found["top1"] == pytest.approx(100 * top_k_accuracy_score(labels, scores, k=1))
    assert found["top5"] == pytest.approx(100 * top_k_accuracy_score(labels, scores, k=5))
    assert found["mean_per_class"] == pytest.approx(
        100 * balanced_accuracy_score(labels, scores.argmax(1))
    )
    assert found["mean_per_class"] != pytest.approx(found["top1"])


def test_accuracies_by_hand() -> None:
    """Classes 0 0 0 1; class 2 has no image and counts in no mean."""
    labels, predicted = np.array([0, 0, 0, 1]), np.array([0, 0, 2, 2])
    recalls = class_recalls(labels, predicted, 3)
    assert recalls[:2].tolist() == [2 / 3, 0.0]
    assert np.isnan(recalls[2])
    found = single_metrics(labels, np.eye(3)[predicted])
    assert found == pytest.approx({"top1": 50.0, "top5": 100.0, "mean_per_class": 100 / 3})


def loop_11_point(relevant: np.ndarray, scores: np.ndarray) -> float:
    """VOC 2007, section 4.1 of Everingham et al. 2010, as a plain loop."""
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    hits, curve = 0, []
    for rank, i in enumerate(order, 1):
        hits += bool(relevant[i])
        curve.append((hits / relevant.sum(), hits / rank))
    return (
        sum(max((p for r, p in curve if r >= t / 10 - 1e-12), default=0.0) for t in range(11)) / 11
    )


@pytest.mark.parametrize("seed", range(3))
def test_average_precisions_equal_scikit_learn_and_a_plain_loop(seed: int) -> None:
    """Images with a class only as difficult objects are left out of that class, in both."""
    rng = np.random.default_rng(seed)
    targets = rng.choice([-1, -1, -1, 0, 1], (50, 6)).astype(np.int8)
    targets[:, 5] = np.minimum(targets[:, 5], 0)  # never present: in no mean
    scores = rng.normal(size=(50, 6)) + 0.5 * targets
    found, by_class = multi_metrics(targets, scores)
    kept = [targets[:, k] != 0 for k in range(5)]
    area = [average_precision_score(targets[s, k] > 0, scores[s, k]) for k, s in enumerate(kept)]
    eleven = [loop_11_point(targets[s, k] > 0, scores[s, k]) for k, s in enumerate(kept)]
    assert found["mAP_area"] == pytest.approx(100 * np.mean(area), abs=1e-9)
    assert found["mAP"] == pytest.approx(100 * np.mean(eleven), abs=1e-9)
    assert by_class[:5] == pytest.approx(eleven)
    assert np.isnan(by_class[5])
    assert found["mAP_interpolated"] > found["mAP_area"]
    with pytest.raises(BadData, match="no class has a positive image"):
        multi_metrics(-np.ones((3, 2), np.int8), np.zeros((3, 2)))


def test_multi_loss_equals_a_plain_loop_and_leaves_difficult_out() -> None:
    torch.manual_seed(0)
    logits = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    targets = torch.tensor([[1, -1, 0], [-1, -1, 1], [0, 0, 0], [1, 1, -1]], dtype=torch.int8)
    expected = 0.0
    for row, wanted in zip(logits.tolist(), targets.tolist(), strict=True):
        for x, y in zip(row, wanted, strict=True):
            expected += 0.0 if y == 0 else np.log1p(np.exp(-x * y))
    loss = multi_loss(logits, targets)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(expected / 4)
    assert logits.grad is not None
    assert (logits.grad[targets == 0] == 0).all()
    assert (logits.grad[targets != 0] != 0).all()
