"""What each crop does to a score, beside the crop `image`: the paired effect over methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from statistics import fmean

from bench.core.statistics import summarise
from bench.results.views.board import COMPARED, Board, Row
from bench.results.views.differences import PairedDifference, hold_together
from bench.results.views.entries import Entry

BASE = "image"  # the crop that the others are compared with
Pair = tuple[float, Set[int]]
ALL = ""  # in place of a column's key: the mean over the columns


@dataclass(frozen=True)
class CropEffect:
    """The mean difference from `image`, in points, over methods that have both crops. The interval
    is Student's t over methods, and holds together with those of all crops and columns."""

    gap: PairedDifference  # `n` methods; `seeds` that all of its pairs share
    methods: tuple[str, ...]


def list_crop_effects(board: Board) -> dict[str, dict[str, CropEffect]]:
    """{crop: {column key or ALL: effect}}, the largest mean over all columns first.

    A pair is two rows of one method, source and settings, one of them with the crop `image`; its
    difference in a column is over common seeds. Methods are what is drawn: tasks of one method
    share its backbone, so they are averaged first and not counted as more evidence.
    """
    pairs: dict[tuple[str, str], dict[str, list[Pair]]] = {}
    for row, base in _pair_rows(board):
        for column in board.columns:
            gap = _compare(base.entries.get(column.key), row.entries.get(column.key))
            if gap is not None:
                by_method = pairs.setdefault((row.crop, column.key), {})
                by_method.setdefault(row.method, []).append(gap)
                every = pairs.setdefault((row.crop, ALL), {})
                every.setdefault(row.method, []).append(gap)
    effects = {at: _average(by_method) for at, by_method in pairs.items()}
    count = sum(e.gap["ci95"] is not None for e in effects.values())
    table: dict[str, dict[str, CropEffect]] = {}
    for (crop, column_key), effect in effects.items():
        widened = CropEffect(hold_together(effect.gap, count), effect.methods)
        table.setdefault(crop, {})[column_key] = widened
    return dict(sorted(table.items(), key=lambda c: (-c[1][ALL].gap["mean"], c[0])))


def _pair_rows(board: Board) -> list[tuple[Row, Row]]:
    rows = [row for row in board.rows if row.source in COMPARED]
    bases: dict[tuple[str, str, str], Row] = {}
    for row in rows:
        if row.crop == BASE:
            bases.setdefault((row.method, row.source, row.settings), row)
    wanted = [(r, bases.get((r.method, r.source, r.settings))) for r in rows if r.crop != BASE]
    return [(row, base) for row, base in wanted if base is not None]


def _compare(base: Entry | None, other: Entry | None) -> Pair | None:
    """(mean difference over common seeds, these seeds): its interval is over methods."""
    if base is None or other is None or base.dead or other.dead:
        return None
    seeds = base.values.keys() & other.values.keys()
    if not seeds:
        return None
    return fmean(other.values[s] - base.values[s] for s in seeds), seeds


def _average(by_method: Mapping[str, Sequence[Pair]]) -> CropEffect:
    means = [fmean(mean for mean, _ in pairs) for pairs in by_method.values()]
    seeds = [set(seeds) for pairs in by_method.values() for _, seeds in pairs]
    shared = sorted(set.intersection(*seeds))
    return CropEffect({**summarise(means), "seeds": shared}, tuple(sorted(by_method)))
