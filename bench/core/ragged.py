"""Rows of different length as one flat array and the offsets at which they begin."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


def offsets(lengths: Iterable[int]) -> np.ndarray:
    """(N + 1,) int64: where each of N rows of these lengths begins in a flat array, and where the
    last one ends.

    >>> offsets([2, 0, 3]).tolist()
    [0, 2, 2, 5]
    """
    return np.cumsum([0, *lengths], dtype=np.int64)


def span(first: np.ndarray, row: int) -> slice:
    """Where the row lies in a flat array with the offsets `first` (N + 1,). No negative rows."""
    if row < 0:
        raise IndexError(f"rows count from 0, got {row}")
    return slice(int(first[row]), int(first[row + 1]))


@dataclass(frozen=True)
class Ragged:
    """N rows of different length: row i is `values[first[i]:first[i + 1]]`.

    values: (R, ...), all rows one after another. first: (N + 1,), from 0 to R. Either may be
    mapped from a file.
    """

    values: np.ndarray
    first: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[np.ndarray], empty: np.ndarray | None = None) -> Ragged:
        """The table of these rows; `empty` (0, ...): its values where there is no row at all."""
        values = np.concatenate(rows) if len(rows) or empty is None else empty
        return cls(values, offsets(map(len, rows)))

    def __len__(self) -> int:
        return len(self.first) - 1

    def __getitem__(self, row: int) -> np.ndarray:
        return self.values[span(self.first, row)]

    def owner(self, at: int) -> int:
        """The row in which `values[at]` lies."""
        return int(np.searchsorted(self.first, at, "right")) - 1
