"""How the results of one column of a board stand to each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.results.views.entries import Entry
from bench.results.views.marks import Mark, mark_column
from bench.results.views.ranking import ranks


@dataclass(frozen=True, eq=False)
class Standings:
    """The marks, places and range of the results of one column that count. The same object as
    before says that these results are the same."""

    column: str  # its key
    marks: Mapping[tuple[str, str], Mark]  # by keys of column and row
    best: Entry | None  # where any is marked so
    means: Mapping[str, float]  # by key of the row
    span: tuple[float, float]  # the lowest and the highest of them
    seeds: Counter[int]  # how many results have how many
    places: Mapping[str, float]  # by key of the row, from 0, the best, to 1; .5 where it is alone


def look_at_column(column: str, keys: Sequence[str], entries: Sequence[Entry]) -> Standings:
    """The standings of `entries`, all with a mean; `keys` are those of their rows, `column` is
    that of the column."""
    marks = mark_column([e.values for e in entries])
    means = [e.mean for e in entries if e.mean is not None]
    best = next((e for e, mark in zip(entries, marks, strict=True) if mark == "best"), None)
    last = len(means) - 1
    order = zip(keys, ranks([-mean for mean in means]), strict=True)
    return Standings(
        column=column,
        marks={(column, key): mark for key, mark in zip(keys, marks, strict=True)},
        best=best,
        means=dict(zip(keys, means, strict=True)),
        span=(min(means, default=0.0), max(means, default=0.0)),
        seeds=Counter(e.n for e in entries),
        places={key: (place - 1) / last if last else 0.5 for key, place in order},
    )
