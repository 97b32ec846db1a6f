"""Experiment tracking: what a stage may report. A tracker that fails never fails a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


class Tracker:
    """One run per stage. Every method is safe to call at any time."""

    def log(self, figures: dict[str, float], step: int) -> None:
        """Scalars at a step."""

    def image(self, name: str, picture: np.ndarray, step: int | None = None) -> None:
        """(H, W, 3) uint8 RGB."""

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Rows of numbers, texts and None under the names of their columns."""

    def finish(self, summary: dict[str, Any] | None = None, failed: bool = False) -> None:
        """End the run."""

    @property
    def url(self) -> str | None:
        """Where a person can look at it, if anywhere."""
        return None


class NullTracker(Tracker):
    """Tracks nothing."""
