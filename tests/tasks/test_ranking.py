"""Average precision in three kinds, against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, top_k_accuracy_score

from bench.core.errors import StageFailed
from tasks._shared.finite import require_finite
from tasks._shared.ranking import ApKind, average_precision, batch_map, class_ap, top_k


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("tied", [False, True])
def test_area_is_scikit_learns(seed: int, tied: bool) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal(80)
    scores = scores.round(0) if tied else scores
    relevant = rng.random(80) < 0.2
    assert average_precision(relevant, scores, "area") == pytest.approx(
        average_precision_score(relevant, scores)
    )


def test_the_three_kinds_by_hand() -> None:
    """Ranked + - + - - +: precisions 1, 1/2, 2/3, 1/2, 2/5, 1/2 at recalls 1/3, 1/3, 2/3, 2/3,
    2/3, 1."""
    relevant = np.array([1, 0, 1, 0, 0, 1], bool)
    scores = np.array([6.0, 5, 4, 3, 2, 1])
    assert average_precision(relevant, scores, "area") == pytest.approx((1 + 2 / 3 + 1 / 2) / 3)
    assert average_precision(relevant, scores, "interpolated") == pytest.approx(
        (1 + 2 / 3 + 1 / 2) / 3
    )
    # recalls 0 to .3 (4 points), .4 to .6 (3), .7 to 1 (4)
    assert average_precision(relevant, scores, "11point") == pytest.approx(
        (4 * 1 + 3 * 2 / 3 + 4 / 2) / 11
    )


def test_interpolation_takes_the_best_precision_further_on() -> None:
    """Ranked - + +: precisions 0, 1/2, 2/3: the monotone curve is 2/3 everywhere."""
    relevant, scores = np.array([0, 1, 1], bool), np.array([3.0, 2, 1])
    assert average_precision(relevant, scores, "interpolated") == pytest.approx(2 / 3)
    assert average_precision(relevant, scores, "11point") == pytest.approx(2 / 3)
    assert average_precision(relevant, scores, "area") == pytest.approx((1 / 2 + 2 / 3) / 2)


@pytest.mark.parametrize("kind", ["interpolated", "11point", "area"])
def test_c_scores_that_are_equal_rank_nothing(kind: ApKind) -> None:
    """Whatever the order of the images: a classifier that gives all of them one score has the
    share of relevant ones; one that knows a half of them keeps that."""
    relevant = np.array([1, 1, 0, 0, 0, 0], bool)
    for order in (slice(None), slice(None, None, -1)):
        assert average_precision(relevant[order], np.zeros(6), kind) == pytest.approx(1 / 3)
        half = np.array([1.0, 1, 1, 1, 0, 0])[order]
        assert average_precision(relevant[order], half, kind) == pytest.approx(1 / 2)


def voc_ap(recall: np.ndarray, precision: np.ndarray) -> float:
    """The published code's `calculate_ap`, in plain loops."""
    r, p = [0.0, *recall, 1.0], [0.0, *precision, 0.0]
    for i in range(len(p) - 2, -1, -1):
        p[i] = max(p[i], p[i + 1])
    return sum((r[i + 1] - r[i]) * p[i + 1] for i in range(len(r) - 1))


def voc_11(recall: np.ndarray, precision: np.ndarray) -> float:
    found = 0.0
    for t in np.arange(0.0, 1.1, 0.1):
        at = recall >= t - 1e-12
        found += (precision[at].max() if at.any() else 0.0) / 11
    return found


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_voc_kinds_against_plain_loops(seed: int, tied: bool) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(5, 60))
    relevant = rng.random(n) < 0.3
    relevant[0] = True
    scores = rng.permutation(n).astype(float)
    if tied:
        scores = np.floor(scores / 4)
    steps = sorted(set(scores), reverse=True)
    precision = np.array([relevant[scores >= step].mean() for step in steps])
    recall = np.array([relevant[scores >= step].sum() for step in steps]) / relevant.sum()
    assert average_precision(relevant, scores, "interpolated") == pytest.approx(
        voc_ap(recall, precision)
    )
    assert average_precision(relevant, scores, "11point") == pytest.approx(
        voc_11(recall, precision)
    )


def test_difficult_only_images_are_left_out_of_their_class() -> None:
    labels = np.array([[1, 1], [0, -1], [-1, 1], [1, -1]])
    scores = np.array([[3.0, 1], [9, 4], [2, 3], [1, 2]])
    expected = [
        average_precision([1, 0, 1], [3, 2, 1]),
        average_precision([1, 0, 1, 0], [1, 4, 3, 2]),
    ]  # type: ignore[arg-type]
    assert class_ap(labels, scores).tolist() == pytest.approx(expected)
    assert expected[0] == pytest.approx((1 + 2 / 3) / 2)


def test_nothing_relevant_is_not_a_number() -> None:
    assert np.isnan(average_precision(np.zeros(4, bool), np.arange(4.0)))


def test_batch_map_is_the_mean_of_batches_over_classes_they_show() -> None:
    rng = np.random.default_rng(0)
    labels, scores = np.where(rng.random((10, 3)) < 0.3, 1, -1), rng.standard_normal((10, 3))
    labels[4:8, 1] = -1
    parts = []
    for low in (0, 4, 8):
        y, s = labels[low : low + 4] > 0, scores[low : low + 4]
        shown = [average_precision_score(y[:, k], s[:, k]) for k in range(3) if y[:, k].any()]
        parts += [np.mean(shown)] if shown else []
    assert batch_map(labels, scores, 4) == pytest.approx(np.mean(parts))


def test_top_k_is_scikit_learns() -> None:
    rng = np.random.default_rng(3)
    scores, labels = rng.standard_normal((50, 7)), rng.integers(0, 7, 50)
    for k in (1, 3, 5):
        assert top_k(labels, scores, k) == pytest.approx(
            top_k_accuracy_score(labels, scores, k=k, labels=range(7))
        )


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused(bad: float) -> None:
    scores = np.array([[0.1, bad], [0.3, 0.2]])
    with pytest.raises(StageFailed, match="1 of 4 scores are infinite or not a number"):
        top_k(np.array([0, 1]), scores, 1)
    with pytest.raises(StageFailed, match="1 of 2 scores"):
        average_precision(np.array([True, False]), scores[:, 1])
    with pytest.raises(StageFailed, match="of the classifier"):
        require_finite(torch.from_numpy(scores), "scores of the classifier")
    assert require_finite(scores[1], "scores") is not None
