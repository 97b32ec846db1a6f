"""Rows of different length in one array."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.core.ragged import Ragged, offsets, span

ROWS = [np.array([[1.0, 2.0]]), np.zeros((0, 2)), np.array([[3.0, 4.0], [5.0, 6.0]])]


def test_rows_come_back_as_they_were() -> None:
    table = Ragged.of(ROWS)
    assert len(table) == 3
    assert table.first.tolist() == [0, 1, 1, 3]
    assert table.first.dtype == np.int64
    for i, row in enumerate(ROWS):
        np.testing.assert_array_equal(table[i], row)
    np.testing.assert_array_equal(table.values, [[1, 2], [3, 4], [5, 6]])


def test_every_value_knows_its_row_and_empty_rows_own_none() -> None:
    table = Ragged.of(ROWS)
    owners = [i for i, row in enumerate(ROWS) for _ in row]
    assert [table.owner(at) for at in range(len(table.values))] == owners == [0, 2, 2]


def test_no_rows() -> None:
    table = Ragged.of([], empty=np.zeros((0, 4), np.float32))
    assert len(table) == 0
    assert table.values.shape == (0, 4)
    assert offsets([]).tolist() == [0]
    with pytest.raises(ValueError, match="at least one array"):
        Ragged.of([])


def test_rows_outside_are_errors() -> None:
    table = Ragged.of(ROWS)
    for row in (3, -1):
        with pytest.raises(IndexError):
            table[row]
    with pytest.raises(IndexError, match="rows count from 0, got -2"):
        span(table.first, -2)


def test_arrays_may_be_mapped_from_files(tmp_path: Path) -> None:
    table = Ragged.of(ROWS)
    for name in ("values", "first"):
        np.save(tmp_path / f"{name}.npy", getattr(table, name))
    mapped = Ragged(*(np.load(tmp_path / f"{n}.npy", mmap_mode="r") for n in ("values", "first")))
    assert isinstance(mapped[2], np.memmap)
    np.testing.assert_array_equal(mapped[2], ROWS[2])
    assert list(map(len, mapped)) == [1, 0, 2]  # as a sequence, until its end
