"""Rows of cells and results: made of records, put into a session, read back as records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from bench.results.db import queries
from bench.results.db.checked import describe_twins, refuse_other_place
from bench.results.db.journal import Origin, write_origin
from bench.results.db.models import CellRow, MetricRow, ResultRow
from bench.results.db.records import CellRecord, ResultRecord, StoredCell


def put_cell(
    session: Session, cell: CellRecord, state: str, reason: str | None, origin: Origin | None
) -> None:
    """Add or replace a cell; `origin`, who changes its state, is remembered where it changes."""
    before = session.get(CellRow, cell["label"])
    changes = before is None or before.state != state
    session.merge(make_cell_row(cell, state, reason))
    session.flush()
    if changes and origin is not None:
        write_origin(session, cell["label"], origin)


def put_result(
    session: Session, record: ResultRecord, source: str, origin: Origin | None = None
) -> None:
    """Add or replace a result from `source`; a cell that is new, or measured now, becomes done."""
    cell = record["cell"]
    if source == "measured" or session.get(CellRow, cell["label"]) is None:
        put_cell(session, cell, "done", None, origin)
    result = session.query(ResultRow).filter_by(label=cell["label"], source=source).one_or_none()
    if result is None:
        result = ResultRow(label=cell["label"], source=source, headline=record["headline"])
        session.add(result)
        session.flush()
    result.headline = record["headline"]
    result.value = record["metrics"].get(record["headline"])
    session.query(MetricRow).filter_by(result_id=result.id).delete()
    for position, name in enumerate(record["order"]):
        value = record["metrics"][name]
        session.add(MetricRow(result_id=result.id, name=name, value=value, position=position))


def choose_imports(session: Session, records: Sequence[ResultRecord]) -> list[ResultRecord]:
    """Those of the results that are neither measured here nor, of one cell, the exporter's import
    beside its own measurement."""
    measured = _read_measured(session, (r["cell"]["label"] for r in records))
    new = [
        r
        for r in records
        if r.get("source") == "imported" or measured.get(r["cell"]["label"]) != r["metrics"]
    ]
    own = {r["cell"]["label"] for r in new if r.get("source") != "imported"}
    return [r for r in new if r.get("source") != "imported" or r["cell"]["label"] not in own]


def _read_measured(session: Session, labels: Iterable[str]) -> dict[str, dict[str, float]]:
    """The metrics of those of the cells that were measured here."""
    measured: dict[str, dict[str, float]] = {}
    for some in queries.split_in_parts(labels):
        query = select(ResultRow.label, MetricRow.name, MetricRow.value)
        query = query.join(MetricRow, MetricRow.result_id == ResultRow.id)
        query = query.where(ResultRow.label.in_(some), ResultRow.source == "measured")
        for label, name, value in session.execute(query):
            measured.setdefault(label, {})[name] = value
    return measured


def refuse_twins(session: Session, records: Sequence[ResultRecord], where: str) -> None:
    """BadInput where another cell of the database has a result of the same group and seed, or the
    same cell is there with another group or seed."""
    by_place = {(r["cell"]["group"], r["cell"]["seed"]): r["cell"] for r in records}
    for some in queries.split_in_parts({group for group, _ in by_place}):
        query = select(CellRow).join(ResultRow, ResultRow.label == CellRow.label)
        for row in session.scalars(query.where(CellRow.group.in_(some))):
            cell = by_place.get((row.group, row.seed))
            if cell and cell["label"] != row.label:
                raise describe_twins(read_record(row), cell, where)
    by_label = {r["cell"]["label"]: r["cell"] for r in records}
    for some in queries.split_in_parts(by_label):
        for row in session.scalars(select(CellRow).where(CellRow.label.in_(some))):
            refuse_other_place(read_record(row), by_label[row.label], where)


def is_validation(overrides: Mapping[str, Any]) -> bool:
    """Whether a cell with these settings is scored on a part of the training images."""
    return any(k.endswith(".holdout") and float(v) for k, v in overrides.items())


def read_record(row: CellRow) -> CellRecord:
    """The cell without how it ended."""
    fields = [
        c.key for c in CellRow.__table__.columns if c.key not in ("state", "reason", "validation")
    ]
    return cast("CellRecord", {name: getattr(row, name) for name in fields})


def read_cell(row: CellRow) -> StoredCell:
    """The cell with how it ended."""
    return {**read_record(row), "state": row.state, "reason": row.reason}


def make_cell_row(cell: CellRecord, state: str, reason: str | None) -> CellRow:
    """The row of a cell that ended in `state`."""
    fields = {c.key for c in CellRow.__table__.columns}
    values: dict[str, Any] = {k: v for k, v in cell.items() if k in fields}
    values |= {"state": state, "reason": reason, "validation": is_validation(cell["overrides"])}
    return CellRow(**values)
