"""What each crop does to a score, beside the crop `image`: the paired effect over methods."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from math import fsum

from bench.core.collector import collector_off
from bench.core.statistics import summarise
from bench.results.views.board import COMPARED, Board, Row
from bench.results.views.differences import PairedDifference, hold_together
from bench.results.views.entries import Entry
from bench.results.views.memo import Memo
from bench.results.views.standings import Standings

BASE = "image"  # the crop that the others are compared with
ALL = ""  # in place of a column's key: the mean over the columns


@dataclass(frozen=True)
class CropEffect:
    """The mean difference from `image`, in points, over methods that have both crops. The interval
    is Student's t over methods, and holds together with those of all crops and columns."""

    gap: PairedDifference  # `n` methods; `seeds` that all of its pairs share
    methods: tuple[str, ...]


def list_crop_effects(board: Board, memo: Memo | None = None) -> dict[str, dict[str, CropEffect]]:
    """{crop: {column key or ALL: effect}}, the largest mean over all columns first.

    A pair is two rows of one method, source and settings, one of them with the crop `image`; its
    difference in a column is over common seeds. Methods are what is drawn: tasks of one method
    share its backbone, so they are averaged first and not counted as more evidence. `memo`: of the
    last board of this choice; columns whose results have not changed since are taken from it.
    """
    with collector_off():
        return _list_crop_effects(board, memo or Memo())


def _list_crop_effects(board: Board, memo: Memo) -> dict[str, dict[str, CropEffect]]:
    pairs = _pair_rows(board)
    names = [n for pair in pairs for row in pair for n in (row.key, row.method, row.crop)]
    every: dict[str, list[_Gaps]] = {}
    effects: dict[tuple[str, str], CropEffect] = {}
    for column in board.columns:
        standing = board.standings[column.key]
        for crop, gaps in _read_column(pairs, names, standing, memo).items():
            effects[crop, column.key] = _average([gaps])
            every.setdefault(crop, []).append(gaps)
    effects |= {(crop, ALL): _average(gaps) for crop, gaps in every.items()}
    count = sum(e.gap["ci95"] is not None for e in effects.values())
    table: dict[str, dict[str, CropEffect]] = {}
    for (crop, column_key), effect in effects.items():
        widened = CropEffect(hold_together(effect.gap, count), effect.methods)
        table.setdefault(crop, {})[column_key] = widened
    return dict(sorted(table.items(), key=lambda c: (-c[1][ALL].gap["mean"], c[0])))


@dataclass
class _Gaps:
    """The differences of one crop in one column, by method, and the seeds that all pairs share."""

    by_method: dict[str, list[float]]
    seeds: Set[int]


def _pair_rows(board: Board) -> list[tuple[Row, Row]]:
    rows = [row for row in board.rows if row.source in COMPARED]
    bases: dict[tuple[str, str, str], Row] = {}
    for row in rows:
        if row.crop == BASE:
            bases.setdefault((row.method, row.source, row.settings), row)
    wanted = [(r, bases.get((r.method, r.source, r.settings))) for r in rows if r.crop != BASE]
    pairs = [(row, base) for row, base in wanted if base is not None]
    return sorted(pairs, key=lambda pair: pair[0].key)  # a rank that changes moves none of them


def _read_column(
    pairs: Sequence[tuple[Row, Row]], names: Sequence[str], standing: Standings, memo: Memo
) -> dict[str, _Gaps]:
    """The differences in a column, by crop. `names`: what tells these pairs from others."""

    def read() -> dict[str, _Gaps]:
        gaps: dict[str, _Gaps] = {}
        for row, base_row in pairs:
            other, base = row.entries.get(standing.column), base_row.entries.get(standing.column)
            seeds = _share_seeds(base, other) if base and other else None
            if not (base and other and seeds):
                continue
            mean = fsum(other.values[s] - base.values[s] for s in seeds) / len(seeds)
            crop = gaps.setdefault(row.crop, _Gaps({}, seeds))
            crop.by_method.setdefault(row.method, []).append(mean)
            crop.seeds = crop.seeds & seeds
        return gaps

    # of the results of a column, those that count here are those of its standings
    return memo.get(("effects", standing.column), [standing, *names], read)


def _share_seeds(base: Entry, other: Entry) -> Set[int]:
    """The seeds that both have a result of; those of dead networks are none."""
    return frozenset() if base.dead or other.dead else base.values.keys() & other.values.keys()


def _average(columns: Sequence[_Gaps]) -> CropEffect:
    """The effect over the methods of all these columns."""
    by_method: dict[str, list[float]] = {}
    for gaps in columns:
        for method, means in gaps.by_method.items():
            by_method.setdefault(method, []).extend(means)
    summary = summarise([fsum(means) / len(means) for means in by_method.values()])
    shared = sorted(frozenset.intersection(*(frozenset(gaps.seeds) for gaps in columns)))
    return CropEffect({**summary, "seeds": shared}, tuple(sorted(by_method)))
