"""Cells with their journal and their stages, as people list and delete them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from bench.results.db import queries
from bench.results.db.models import CellRow, JournalRow, ResultRow, StageRow
from bench.results.db.records import RunRecord, StoredCell
from bench.results.db.rows import read_cell


def read_runs(
    session: Session,
    limit: int | None,
    user: str | None,
    tag: str | None,
    filters: Mapping[str, Any],
) -> list[RunRecord]:
    """Cells with their journal, the last changed first: of a user, with a tag, with the values of
    columns that `filters` names. A cell that was measured here and imported is one of each."""
    query: Any = (
        select(CellRow, JournalRow, ResultRow)
        .outerjoin(JournalRow, JournalRow.label == CellRow.label)
        .outerjoin(ResultRow, ResultRow.label == CellRow.label)
    )
    query = queries.narrow_query(query, filters)
    if user is not None:
        query = query.where(JournalRow.user == user)
    changed = JournalRow.changed
    query = query.order_by(changed.is_(None), changed.desc(), CellRow.label, ResultRow.source)
    runs: list[RunRecord] = []
    rows = cast(
        "Iterable[tuple[CellRow, JournalRow | None, ResultRow | None]]", session.execute(query)
    )
    for cell, journal, result in rows:
        tags = journal.tags.split(",") if journal and journal.tags else []
        if tag is not None and tag not in tags:
            continue
        runs.append(
            {
                **read_cell(cell),
                "headline": result.headline if result else "",
                "value": result.value if result else None,
                "source": result.source if result else "",
                "user": journal.user if journal else "",
                "changed": journal.changed if journal else None,
                "note": journal.note if journal else "",
                "tags": tags,
            }
        )
        if limit is not None and len(runs) == limit:
            break
    return runs


def find_cells(session: Session, prefix: str) -> list[StoredCell]:
    """The cells whose label starts with this."""
    begins = CellRow.label.startswith(prefix.lower(), autoescape=True)
    query = select(CellRow).where(begins).order_by(CellRow.label)
    return [read_cell(row) for row in session.scalars(query)]


def find_users(session: Session, key: str) -> list[str]:
    """kind/name and key of the recorded stages that have a stage as an input."""
    query = select(StageRow.key, StageRow.kind, StageRow.name, StageRow.inputs)
    users = (row for row in session.execute(query) if key in row.inputs.values())
    return [f"{row.kind}/{row.name} {row.key[:12]}" for row in users]


def delete(session: Session, key: str) -> None:
    """Delete a stage, the cell whose last stage it is, and what is recorded of both."""
    for row in (session.get(StageRow, key), session.get(CellRow, key)):
        if row is not None:
            session.delete(row)
