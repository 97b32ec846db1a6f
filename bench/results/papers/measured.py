"""What was measured of a paper's table, put beside what the paper reports; neither enters the
other."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from bench.contracts.task import DEAD_TEXT
from bench.plan.cell import Cell
from bench.results.db.database import Database
from bench.results.db.records import LeaderboardRow, StoredCell
from bench.results.papers.compared import (
    ComparedCell,
    ComparedClaim,
    ComparedColumn,
    ComparedRow,
    ComparedTable,
    Comparison,
    Measured,
    PlainCitation,
)
from bench.results.papers.match import Recorded
from bench.results.papers.reported import CITATIONS
from bench.results.papers.tables import Claim, Column, Row, Table, load_table
from bench.results.views.differences import compare_values, judge, judge_claim
from bench.results.views.marks import mark_column
from bench.results.views.ranking import correlate_ranks

Measurements = Recorded[LeaderboardRow]
Attempts = Recorded[StoredCell]


def compare_table(database: Database, name: str, scale: str) -> ComparedTable:
    """The table `name` (such as "000/T1") at `scale`.

    Where several versions of code or data have a result of a cell, the one with most seeds is
    shown.
    """
    table = load_table(name)
    return put_beside(table, scale, *read_recorded(database, scale, table))


def read_recorded(
    database: Database, scale: str, table: Table | None = None
) -> tuple[Measurements, Attempts]:
    """What was measured at a scale, and every cell that was asked for there; only of a table's
    methods, crops and tasks where a table is given."""
    filters: dict[str, Any] = {"scale": [scale]}
    if table is not None:
        cells = table.cells(scale)
        if not cells:
            return Recorded([]), Recorded([])
        filters |= {
            name: sorted({getattr(cell, name) for cell in cells})
            for name in ("method", "crop", "task")
        }
    measured = Recorded(r for r in database.read_rows(**filters) if r["source"] == "measured")
    return measured, Recorded(database.read_cells(**filters))


def put_beside(table: Table, scale: str, measured: Measurements, asked: Attempts) -> ComparedTable:
    """`compare_table` of what `read_recorded` has read: for many tables it is read once."""
    rows = [_compare_row(table, row, scale, measured, asked) for row in table.rows]
    for column in table.columns:
        _mark(table, column, rows, scale)
    return {
        "name": table.name,
        "paper": table.paper,
        "table": table.number,
        "caption": table.caption,
        "scale": scale,
        "citation": _cite(table.paper),
        "columns": [_compare_column(table, column, rows, scale) for column in table.columns],
        "rows": rows,
        "claims": [_check_claim(table, claim, rows, scale) for claim in table.claims],
    }


def _mark(table: Table, column: Column, rows: list[ComparedRow], scale: str) -> None:
    """Give the measured numbers of a column their marks; rows of one cell have one mark."""
    values: dict[Cell, dict[int, float]] = {}
    places: dict[Cell, list[ComparedCell]] = {}
    for row, compared in zip(table.rows, rows, strict=True):
        entry, cell = compared["cells"].get(column.name), table.cell(row, column, scale)
        if cell and entry and entry["values"]:
            values[cell] = entry["values"]
            places.setdefault(cell, []).append(entry)
    for cell, mark in zip(values, mark_column(list(values.values())), strict=True):
        for entry in places[cell]:
            entry["mark"] = mark


def _cite(paper: str) -> PlainCitation:
    citation = CITATIONS[paper]
    return {
        "paper": citation.paper,
        "title": citation.title,
        "authors": citation.authors,
        "venue": citation.venue,
        "year": citation.year,
        "text": str(citation),
    }


def _compare_row(
    table: Table, row: Row, scale: str, measured: Measurements, asked: Attempts
) -> ComparedRow:
    values = table.values()
    cells: dict[str, ComparedCell] = {}
    for column in table.columns:
        if (row.label, column.name) in values:
            value = values[row.label, column.name]
            cell = table.cell(row, column, scale)
            cells[column.name] = {
                "reported": value.value,
                "notes": value.notes,
                "doubtful": value.doubtful,
                "repeats": value.repeats,
                "mark": None,
                **_find_measured(cell, row, column, measured, asked),
            }
    return {
        "label": row.label,
        "method": row.method,
        "crop": row.crop,
        "overrides": {**row.settings, **row.by_scale.get(scale, {})},
        "note": row.note,
        "reported_only": row.reported_only,
        "cells": cells,
    }


def _find_measured(
    cell: Cell | None, row: Row, column: Column, measured: Measurements, asked: Attempts
) -> Measured:
    if cell is None:
        return _nothing("reported only", row.reported_only or column.reported_only)
    versions = sorted(measured.find(cell), key=lambda r: (r["dead"], -len(r["seeds"])))
    if versions:
        best = versions[0]
        if best["dead"]:
            return _nothing("dead", DEAD_TEXT)
        value = best["metrics"].get(column.metric)
        missing = f"{column.runs} gives no {column.metric} at this scale"
        return {
            "measured": value,
            "values": best["scores"].get(column.metric, {}),
            "seeds": best["seeds"],
            "cells": best["cells"],
            "others": len(versions) - 1,
            "reason": missing if value is None else None,
            "state": "not run" if value is None else "measured",
        }
    attempts = asked.find(cell)
    if attempts:
        return _nothing(attempts[0]["state"], attempts[0]["reason"])
    return _nothing("not run", None)


def _nothing(state: str, reason: str | None) -> Measured:
    return {
        "measured": None,
        "values": {},
        "seeds": [],
        "cells": [],
        "others": 0,
        "reason": reason,
        "state": state,
    }


def _compare_column(
    table: Table, column: Column, rows: list[ComparedRow], scale: str
) -> ComparedColumn:
    pairs: dict[Cell, tuple[float, float]] = {}
    for row, compared in zip(table.rows, rows, strict=True):
        entry = compared["cells"].get(column.name)
        cell = table.cell(row, column, scale)
        if cell and entry and entry["measured"] and not entry["doubtful"]:
            pairs.setdefault(cell, (entry["reported"], entry["measured"]["mean"]))
    return {
        "name": column.name,
        "task": column.task,
        "protocol": column.protocol,
        "reported": column.reported,
        "runs": column.runs,
        "metric": column.metric,
        "reported_only": column.reported_only,
        "correlation": correlate_ranks(
            [r for r, _ in pairs.values()], [m for _, m in pairs.values()]
        ),
    }


def _check_claim(table: Table, claim: Claim, rows: list[ComparedRow], scale: str) -> ComparedClaim:
    labels = {row.label: (row, compared) for row, compared in zip(table.rows, rows, strict=True)}
    comparisons = [
        _compare_rows(table, labels[better], labels[worse], column, scale)
        for order in claim.orders
        for better, worse in pairwise(order)
        for column in table.columns
        if (not claim.columns or column.name in claim.columns)
        and all(column.name in labels[label][1]["cells"] for label in (better, worse))
    ]
    possible = [c for c in comparisons if c["possible"]]
    for c in comparisons:
        c["verdict"] = judge(c["measured"], len(possible))
    return {
        "text": claim.text,
        "source": claim.source,
        "doubt": claim.doubt,
        "state": judge_claim([c["verdict"] for c in possible]),
        "comparisons": comparisons,
    }


def _compare_rows(
    table: Table,
    better: tuple[Row, ComparedRow],
    worse: tuple[Row, ComparedRow],
    column: Column,
    scale: str,
) -> Comparison:
    high, low = (compared["cells"][column.name] for _, compared in (better, worse))
    cells = [table.cell(row, column, scale) for row, _ in (better, worse)]
    possible = None not in cells and cells[0] != cells[1]
    measured = possible and high["values"] and low["values"]
    return {
        "better": better[0].label,
        "worse": worse[0].label,
        "column": column.name,
        "reported": high["reported"] - low["reported"],
        "possible": possible,
        "measured": compare_values(low["values"], high["values"]) if measured else None,
        "verdict": "undecided",
    }
