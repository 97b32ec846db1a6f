"""The queries behind leaderboards: SQL and plain tuples, no mapped objects, so that 100,000
results are read quickly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, func, select

from bench.contracts.task import DEAD
from bench.core.statistics import is_number, summarise
from bench.results.db.models import BOARD, CellRow, MetricRow, ResultRow
from bench.results.db.records import LeaderboardRow

NAMES = ("method", "crop", "task", "scale", "pretrain_data", "task_data", "engine")
CONTENTS = ("pretrain_data_key", "task_data_key")  # another content of one data set
IN_ONE_QUERY = 500  # values of an IN (...); SQLite takes at least 999 of them
SHARED = (*CONTENTS, "pretrain_name", "task_name", "group", "pretraining")
FIELDS = (*NAMES, *SHARED, "seed", "label", "overrides")
Filters = Mapping[str, Iterable[Any] | None]


class Head(NamedTuple):
    """A leaderboard row before its metrics are read: a group of cells from one source."""

    board: tuple[str, ...]  # values of BOARD and CONTENTS: heads of one board may be compared
    group: str
    source: str
    mean: float  # of the headline metric
    dead: bool = False


def split_in_parts(values: Iterable[Any]) -> Iterable[list[Any]]:
    """The values, `IN_ONE_QUERY` at a time."""
    listed = list(values)
    for start in range(0, len(listed), IN_ONE_QUERY):
        yield listed[start : start + IN_ONE_QUERY]


def narrow_query(query: Select[Any], filters: Filters) -> Select[Any]:
    """The query with `column IN values` for every filter of cells that has values."""
    for column, values in filters.items():
        if values:
            query = query.where(getattr(CellRow, column).in_(list(values)))
    return query


def select_heads(connection: Connection, filters: Filters) -> list[Head]:
    """Every group that has results, best headline first within its board and dead networks
    last."""
    dead = select_dead(connection)
    board = [getattr(CellRow, name) for name in (*BOARD, *CONTENTS)]
    query = select(*board, CellRow.group, ResultRow.source, func.avg(ResultRow.value))
    query = query.join(ResultRow, ResultRow.label == CellRow.label)
    query = narrow_query(query, filters).group_by(*board, CellRow.group, ResultRow.source)
    width = len(board)
    heads = [
        Head(
            tuple(row[:width]),
            row[width],
            row[width + 1],
            -float("inf") if row[-1] is None else row[-1],
            (row[width], row[width + 1]) in dead,
        )
        for row in connection.execute(query)
    ]
    return sorted(heads, key=lambda h: (h.board, h.dead, -h.mean, h.group, h.source))


def select_dead(connection: Connection) -> set[tuple[str, str]]:
    """(group, source) of every result of a dead network."""
    query = select(CellRow.group, ResultRow.source).distinct()
    query = query.join(ResultRow, ResultRow.label == CellRow.label)
    query = query.join(MetricRow, MetricRow.result_id == ResultRow.id)
    query = query.where(MetricRow.name == DEAD)
    return {(group, source) for group, source in connection.execute(query)}


def read_rows(connection: Connection, wanted: Sequence[Head]) -> list[LeaderboardRow]:
    """The leaderboard rows of these heads, in their order: names, seeds, every metric's summary,
    cells."""
    groups: dict[tuple[str, str], list[Any]] = {}
    for some in split_in_parts(dict.fromkeys(h.group for h in wanted)):
        columns = [CellRow.__table__.c[n] for n in FIELDS]
        query = select(
            *columns, ResultRow.source, ResultRow.headline, MetricRow.name, MetricRow.value
        )
        query = query.join(ResultRow, ResultRow.label == CellRow.label)
        query = query.join(MetricRow, MetricRow.result_id == ResultRow.id)
        query = query.where(CellRow.group.in_(some))
        for row in connection.execute(
            query.order_by(CellRow.seed, CellRow.label, MetricRow.position)
        ):
            if not is_number(row[-1]):
                continue  # damaged
            groups.setdefault((row.group, row.source), []).append(row)
    return [_make_row(groups[h.group, h.source]) for h in wanted if (h.group, h.source) in groups]


def _make_row(rows: Sequence[Any]) -> LeaderboardRow:
    """One row of the rows of a group's metrics: name and value are the last two columns."""
    first = rows[0]
    values: dict[str, list[float]] = {}
    scores: dict[str, dict[int, float]] = {}
    named = {n: max(getattr(row, n) for row in rows) for n in ("pretrain_name", "task_name")}
    for row in rows:
        values.setdefault(row[-2], []).append(row[-1])
        scores.setdefault(row[-2], {})[row.seed] = row[-1]
    dead = values.pop(DEAD, None) is not None
    scores.pop(DEAD, None)
    return {
        "method": first.method,
        "crop": first.crop,
        "task": first.task,
        "scale": first.scale,
        "pretrain_data": first.pretrain_data,
        "task_data": first.task_data,
        "engine": first.engine,
        "pretrain_data_key": first.pretrain_data_key,
        "task_data_key": first.task_data_key,
        "pretrain_name": named["pretrain_name"],  # a seed may have been run without it
        "task_name": named["task_name"],
        "group": first.group,
        "pretraining": first.pretraining,
        "seeds": sorted({row.seed for row in rows}),
        "metrics": {name: summarise(v) for name, v in values.items()},
        "scores": scores,
        "headline": first.headline,
        "overrides": first.overrides,
        "source": first.source,
        "cells": list(dict.fromkeys(row.label for row in rows)),
        "dead": dead,
    }
