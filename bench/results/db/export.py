"""Every result, one after another, as records: what `bench results export` writes, in a memory
that does not grow with their number."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from sqlalchemy import Connection, Row, select

from bench.results.db.models import CellRow, MetricRow, ResultRow
from bench.results.db.records import ResultRecord

AT_ONCE = 2000  # results whose metrics are read with one query
LEFT_OUT = ("state", "reason", "validation")  # columns of a cell that no record has


def iterate_results(connection: Connection) -> Iterator[ResultRecord]:
    """Every result, sorted by its cell's label and its source, with its metrics in the task's
    order. All are of one moment where the transaction of the connection shows one."""
    after: tuple[str, str] = ("", "")
    while some := _read_cells(connection, after):
        yield from _join_metrics(connection, some)
        after = some[-1].label, some[-1].source


def _read_cells(connection: Connection, after: tuple[str, str]) -> list[Row[Any]]:
    """The next `AT_ONCE` results with their cells."""
    columns = [c for c in CellRow.__table__.c if c.name not in LEFT_OUT]
    query = select(*columns, ResultRow.id, ResultRow.source, ResultRow.headline)
    query = query.join(ResultRow, ResultRow.label == CellRow.label)
    label, source = after
    is_later = (ResultRow.label > label) | (
        (ResultRow.label == label) & (ResultRow.source > source)
    )
    query = query.where(ResultRow.label >= label, is_later)
    order = (ResultRow.label, ResultRow.source)
    return list(connection.execute(query.order_by(*order).limit(AT_ONCE)))


def _join_metrics(connection: Connection, some: list[Row[Any]]) -> Iterator[ResultRecord]:
    """The records of these results; one without any number is none."""
    ids = [row.id for row in some]
    metrics: dict[int, dict[str, float]] = {}
    query = select(MetricRow.result_id, MetricRow.name, MetricRow.value)
    query = query.where(MetricRow.result_id.in_(ids))
    for number, name, value in connection.execute(query.order_by(MetricRow.position)):
        metrics.setdefault(number, {})[name] = value
    for row in some:
        if row.id in metrics:
            yield _make_record(row._asdict(), metrics[row.id])


def _make_record(cell: dict[str, Any], metrics: dict[str, float]) -> ResultRecord:
    del cell["id"]
    return cast(
        "ResultRecord",
        {
            "schema": 1,
            "source": cell.pop("source"),
            "headline": cell.pop("headline"),
            "cell": cell,
            "metrics": metrics,
            "order": list(metrics),
        },
    )
