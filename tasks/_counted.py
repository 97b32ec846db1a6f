"""Metrics of labels and predictions with images counted differently (`Task.scored`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.errors import BadInput

Counted = Callable[[np.ndarray], float]


def share(right: np.ndarray) -> Counted:
    """100 times the share of images that are right; right: (N,) bool."""
    return lambda counts: 100 * float((right * counts).sum() / counts.sum())


def of_rows(metric: Callable[[np.ndarray], float]) -> Counted:
    """A metric of rows (positions of images, each as often as it counts)."""
    return lambda counts: metric(np.repeat(np.arange(len(counts)), counts))


def kept(folder: Path, name: str) -> Any:
    """An array, or the arrays of an npz file, an evaluation left; BadInput where an older one left none."""
    try:
        return np.load(folder / name)
    except OSError:
        raise BadInput(
            f"{folder.name} has no {name}, which results have now; try: bench run --force ..., its command "
            f"is in: bench show {folder.name.rpartition('-')[2]}"
        ) from None
