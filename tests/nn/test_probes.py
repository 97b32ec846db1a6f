"""Figures of frozen features against scikit-learn and hand-computed cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier

from bench.nn.probes import (
    NEIGHBOURS,
    RIDGE,
    TEMPERATURE,
    feature_std,
    knn_accuracy,
    linear_accuracy,
    rankme,
)

Rows = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def rows() -> Rows:
    """Five clouds that overlap: train, labels, test, truth."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(5, 16))
    labels, truth = rng.integers(0, 5, 200), rng.integers(0, 5, 60)
    train, test = (centres[y] + 2 * rng.normal(size=(len(y), 16)) for y in (labels, truth))
    return train, labels, test, truth


def test_knn_against_scikit_learn(rows: Rows) -> None:
    train, labels, test, truth = rows

    def weights(distances: np.ndarray) -> np.ndarray:
        return np.exp((1 - distances) / TEMPERATURE)

    peer = KNeighborsClassifier(NEIGHBOURS, metric="cosine", weights=weights).fit(train, labels)
    accuracy = knn_accuracy(*(torch.from_numpy(a) for a in rows))
    assert accuracy == pytest.approx(100 * peer.score(test, truth), abs=1e-4)
    assert 30 < accuracy < 100


def test_ridge_against_scikit_learn(rows: Rows) -> None:
    train, labels, test, truth = rows
    scale = train.std(0)
    peer = RidgeClassifier(alpha=RIDGE * len(train)).fit(train / scale, labels)
    accuracy = linear_accuracy(*(torch.from_numpy(a) for a in rows))
    assert accuracy == pytest.approx(100 * peer.score(test / scale, truth), abs=1e-9)
    assert 30 < accuracy < 100


def test_ridge_takes_a_column_that_does_not_change() -> None:
    train = torch.tensor([[0.0, 1.0], [1.0, 1.0], [0.1, 1.0], [0.9, 1.0]])
    labels = torch.tensor([0, 1, 0, 1])
    assert linear_accuracy(train, labels, train, labels) == 100


def test_rankme_by_hand() -> None:
    assert rankme(torch.eye(6)) == pytest.approx(6, abs=1e-4)
    assert rankme(torch.ones(6, 4)) == pytest.approx(1, abs=1e-4)
    # singular values 3 and 1: shares 3/4 and 1/4
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert rankme(torch.diag(torch.tensor([3.0, 1.0]))) == pytest.approx(
        math.exp(entropy), abs=1e-5
    )


def test_the_spread_of_features_is_nought_when_collapsed_and_one_when_not() -> None:
    generator = torch.Generator().manual_seed(0)
    assert feature_std(torch.ones(50, 8)) == pytest.approx(0, abs=1e-12)
    assert feature_std(torch.randn(2000, 64, generator=generator)) == pytest.approx(1, abs=0.02)
