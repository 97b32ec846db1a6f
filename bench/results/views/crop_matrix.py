"""Every method with every crop on one task: the numbers behind "Which crop?", as plain values."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean

from bench.results.views.board import COMPARED, Board, Column, Row
from bench.results.views.board_text import disarm
from bench.results.views.crop_effects import BASE
from bench.results.views.differences import PairedDifference, hold_together, paired_difference
from bench.results.views.entries import Entry
from bench.results.views.marks import Mark


@dataclass(frozen=True)
class MatrixCell:
    """The result of a method with a crop: the mean over `seeds`, and the half-width of its 95 %
    t-interval (None with one seed)."""

    row: Row
    entry: Entry
    mean: float
    ci95: float | None
    seeds: tuple[int, ...]
    mark: Mark | None  # in the column of the board
    gap: PairedDifference | None  # above the crop `image` of the same method and settings
    others: int  # further rows of this method and crop, under other settings


@dataclass(frozen=True)
class CropMatrix:
    """A task's results by method and crop."""

    column: Column
    methods: tuple[str, ...]  # the best mean over crops first
    crops: tuple[str, ...]  # `image` first, then the best mean over methods
    cells: Mapping[tuple[str, str], MatrixCell]

    @property
    def span(self) -> tuple[float, float]:
        """The lowest and the highest mean."""
        means = [cell.mean for cell in self.cells.values()]
        return min(means), max(means)

    @property
    def reach(self) -> float:
        """The largest difference from `image`, without its sign."""
        return max((abs(c.gap["mean"]) for c in self.cells.values() if c.gap), default=0.0)


def list_matrix_columns(board: Board) -> list[Column]:
    """The columns whose results are of two methods or more, or of two crops or more."""
    return [column for column in board.columns if _has_several(board.rows, column)]


def _has_several(rows: Iterable[Row], column: Column) -> bool:
    """Whether the results of a column are of two methods or more, or of two crops or more."""
    first: tuple[str, str] | None = None
    for row in rows:
        if _counts(row, column):
            first = first or (row.method, row.crop)
            if first != (row.method, row.crop):
                return True
    return False


def make_crop_matrix(board: Board, column: Column) -> CropMatrix | None:
    """The results of a column of the board by method and crop; None where it has none.

    Of several rows of a method and crop, that without changed settings is taken, else that with
    most seeds: never that with the best score. What papers report and dead networks are left out.
    The intervals of all differences from `image` hold together with 95 % (Bonferroni).
    """
    rows: dict[tuple[str, str], list[Row]] = {}
    for row in board.rows:
        if _counts(row, column):
            rows.setdefault((row.method, row.crop), []).append(row)
    chosen = {at: min(members, key=lambda r: _order(r, column)) for at, members in rows.items()}
    if not chosen:
        return None
    gaps = {at: _compare_with_base(chosen, at, column) for at in chosen}
    count = sum(gap is not None and gap["ci95"] is not None for gap in gaps.values())
    cells = {
        at: _make_cell(board, column, row, gaps[at], count, len(rows[at]) - 1)
        for at, row in chosen.items()
    }
    methods = _sort_by_mean(cells, 0)
    crops = sorted(_sort_by_mean(cells, 1), key=lambda crop: crop != BASE)
    return CropMatrix(column, tuple(methods), tuple(crops), cells)


def _counts(row: Row, column: Column) -> bool:
    entry = row.entries.get(column.key)
    return row.source in COMPARED and entry is not None and bool(entry.values) and not entry.dead


def _order(row: Row, column: Column) -> tuple[object, ...]:
    return bool(row.settings), row.source != COMPARED[0], -row.entries[column.key].n, row.key


def _compare_with_base(
    rows: Mapping[tuple[str, str], Row], at: tuple[str, str], column: Column
) -> PairedDifference | None:
    method, crop = at
    row, base = rows[at], rows.get((method, BASE))
    if crop == BASE or base is None or (base.settings, base.source) != (row.settings, row.source):
        return None
    return paired_difference(base.entries[column.key].values, row.entries[column.key].values)


def _make_cell(
    board: Board,
    column: Column,
    row: Row,
    gap: PairedDifference | None,
    comparisons: int,
    others: int,
) -> MatrixCell:
    entry = row.entries[column.key]
    assert entry.mean is not None  # it has values
    return MatrixCell(
        row=row,
        entry=entry,
        mean=entry.mean,
        ci95=entry.ci95,
        seeds=tuple(sorted(entry.values)),
        mark=board.marks.get((column.key, row.key)),
        gap=gap and hold_together(gap, comparisons),
        others=others,
    )


def _sort_by_mean(cells: Mapping[tuple[str, str], MatrixCell], side: int) -> list[str]:
    """The methods (side 0) or crops (1), that with the highest mean of its cells first."""
    means: dict[str, list[float]] = {}
    for at, cell in cells.items():
        means.setdefault(at[side], []).append(cell.mean)
    return sorted(means, key=lambda name: (-fmean(means[name]), name))


FIELDS = (
    *("method", "crop", "settings", "metric", "mean", "ci95", "n", "seeds", "mark"),
    *("gain", "gain ci95"),
)


def write_matrix_csv(matrix: CropMatrix) -> str:
    """A line per cell, with full precision. `gain` is above the crop `image`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(FIELDS)
    for (method, crop), cell in sorted(matrix.cells.items()):
        gap = cell.gap
        gains = (None, None) if gap is None else (gap["mean"], gap["ci95"])
        seeds = " ".join(map(str, cell.seeds))
        names = (method, crop, cell.row.note, matrix.column.headline)
        values = (*names, cell.mean, cell.ci95, len(cell.seeds), seeds, cell.mark, *gains)
        writer.writerow([disarm("" if value is None else value) for value in values])
    return text.getvalue()
