"""Metrics of labels and predictions with images counted differently (`Task.rescore`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.errors import BadInput
from tasks._shared.ranking import ApKind, class_ap

Counted = Callable[[np.ndarray], float]


def share(right: np.ndarray) -> Counted:
    """100 times the share of images that are right; right: (N,) bool."""
    return lambda counts: 100 * float((right * counts).sum() / counts.sum())


def count_rows(metric: Callable[[np.ndarray], float]) -> Counted:
    """A metric of rows (positions of images, each as often as it counts)."""
    return lambda counts: metric(np.repeat(np.arange(len(counts)), counts))


def mean_ap(labels: np.ndarray, scores: np.ndarray, kind: ApKind) -> Counted:
    """100 times the mean of `class_ap` over the classes with a relevant image that counts."""

    def mean(rows: np.ndarray) -> float:
        ap = class_ap(labels[rows], scores[rows], kind)
        return 100 * float(np.nanmean(ap)) if np.isfinite(ap).any() else 0.0

    return count_rows(mean)


def load_kept(folder: Path, name: str) -> Any:
    """An array, or the arrays of an npz file, an evaluation left; BadInput where an older one left
    none."""
    try:
        return np.load(folder / name)
    except OSError:
        raise BadInput(
            f"{folder.name} has no {name}, which results have now; try: bench run --force ... "
            f"(its command is in: bench show {folder.name.rpartition('-')[2]})"
        ) from None
