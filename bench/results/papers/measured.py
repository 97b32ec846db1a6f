"""A table with what was measured beside what was reported, as plain dicts; neither enters the
other."""

from __future__ import annotations

from dataclasses import asdict
from itertools import pairwise
from typing import Any

from bench.plan.cell import Cell
from bench.results.db.database import Database
from bench.results.papers.match import Recorded
from bench.results.papers.reported import CITATIONS
from bench.results.papers.tables import Claim, Column, Row, Table, load_table
from bench.results.views.ranking import difference, spearman

Frame = dict[str, Any]


def compare_table(database: Database, name: str, scale: str) -> Frame:
    """The table `name` at `scale`:

    {name, paper, table, caption, scale, citation,
     columns: [{name, task, protocol, reported, runs, metric, reported_only, spearman, pairs}],
     rows: [{label, method, crop, overrides, note, reported_only, cells: {column: Entry}}],
     claims: [{text, source, doubt, state, comparisons}]}

    Entry: {reported, notes, doubtful, repeats, measured, seeds, cells, state, reason, others}.
    `measured` is {mean, ci95, n} over seeds, ci95 the half-width of the 95 % Student-t interval
    (None for one seed). `state`: measured, reported only, not run, or how the cell ended (failed,
    unsupported, ...). `others`: further results with these names and settings, from other versions
    of code or data; the one with most seeds is shown. `spearman` is the rank correlation between
    the column's reported and measured numbers over `pairs` rows, without doubtful ones, each
    different cell once; None below 3.

    A claim's comparisons: {better, worse, column, reported, measured, holds, separated}: the
    differences (`measured` {mean, ci95}), whether the measured one is positive, and whether its
    interval leaves out 0 (None with one seed). `state`: holds, does not hold, not measured; it
    holds where every comparison that was measured does.
    """
    return put_beside(load_table(name), scale, *read_recorded(database, scale))


def read_recorded(database: Database, scale: str) -> tuple[Recorded, Recorded]:
    """What was measured at a scale, and every cell that was asked for there."""
    board = Recorded(r for r in database.read_rows(scale=[scale]) if r["source"] == "measured")
    return board, Recorded(c for c in database.read_cells() if c["scale"] == scale)


def put_beside(table: Table, scale: str, board: Recorded, asked: Recorded) -> Frame:
    """`compare_table` of what `read_recorded` has found: for many tables it is read once."""
    rows = [_compare_row(table, row, scale, board, asked) for row in table.rows]
    return {
        "name": table.name,
        "paper": table.paper,
        "table": table.number,
        "caption": table.caption,
        "scale": scale,
        "citation": {**asdict(CITATIONS[table.paper]), "text": str(CITATIONS[table.paper])},
        "columns": [_compare_column(table, column, rows, scale) for column in table.columns],
        "rows": rows,
        "claims": [_check_claim(table, claim, rows, scale) for claim in table.claims],
    }


def _compare_row(table: Table, row: Row, scale: str, board: Recorded, asked: Recorded) -> Frame:
    values = table.values()
    made = {
        c.name: table.cell(row, c, scale) for c in table.columns if (row.label, c.name) in values
    }
    cells = {}
    for column in table.columns:
        if column.name in made:
            value = values[row.label, column.name]
            told = {
                "reported": value.value,
                "notes": value.notes,
                "doubtful": value.doubtful,
                "repeats": value.repeats,
            }
            cells[column.name] = {
                **told,
                **_find_measured(made[column.name], row, column, board, asked),
            }
    settings = {**row.settings, **row.by_scale.get(scale, {})}
    return {
        "label": row.label,
        "method": row.method,
        "crop": row.crop,
        "overrides": settings,
        "note": row.note,
        "reported_only": row.reported_only,
        "cells": cells,
    }


def _find_measured(
    cell: Cell | None, row: Row, column: Column, board: Recorded, asked: Recorded
) -> Frame:
    none: Frame = {"measured": None, "seeds": [], "cells": [], "others": 0, "reason": None}
    if cell is None:
        return {
            **none,
            "state": "reported only",
            "reason": row.reported_only or column.reported_only,
        }
    found = sorted(board.of(cell), key=lambda r: -len(r["seeds"]))
    if found:
        best = found[0]
        some = {**none, "seeds": best["seeds"], "cells": best["cells"], "others": len(found) - 1}
        if column.metric in best["metrics"]:
            return {**some, "state": "measured", "measured": best["metrics"][column.metric]}
        return {
            **some,
            "state": "not run",
            "reason": f"{column.runs} gives no {column.metric} at this scale",
        }
    ended = asked.of(cell)
    if ended:
        return {**none, "state": ended[0]["state"], "reason": ended[0]["reason"]}
    return {**none, "state": "not run"}


def _compare_column(table: Table, column: Column, rows: list[Frame], scale: str) -> Frame:
    pairs: dict[Cell, tuple[float, float]] = {}
    for row, frame in zip(table.rows, rows, strict=True):
        entry = frame["cells"].get(column.name)
        cell = table.cell(row, column, scale)
        if cell and entry and entry["measured"] and not entry["doubtful"]:
            pairs.setdefault(cell, (entry["reported"], entry["measured"]["mean"]))
    rho = spearman([r for r, _ in pairs.values()], [m for _, m in pairs.values()])
    names = ("name", "task", "protocol", "reported", "runs", "metric", "reported_only")
    return {**{n: getattr(column, n) for n in names}, "spearman": rho, "pairs": len(pairs)}


def _check_claim(table: Table, claim: Claim, rows: list[Frame], scale: str) -> Frame:
    labels = {row.label: (row, frame) for row, frame in zip(table.rows, rows, strict=True)}
    made = [
        _compare_rows(table, labels[better], labels[worse], column, scale)
        for order in claim.orders
        for better, worse in pairwise(order)
        for column in table.columns
        if (not claim.columns or column.name in claim.columns)
        and all(column.name in labels[label][1]["cells"] for label in (better, worse))
    ]
    known = [c["holds"] for c in made if c["holds"] is not None]
    state = "not measured" if not known else "holds" if all(known) else "does not hold"
    return {
        "text": claim.text,
        "source": claim.source,
        "doubt": claim.doubt,
        "state": state,
        "comparisons": made,
    }


def _compare_rows(
    table: Table, better: tuple[Row, Frame], worse: tuple[Row, Frame], column: Column, scale: str
) -> Frame:
    high, low = (frame["cells"][column.name] for _, frame in (better, worse))
    cells = [table.cell(row, column, scale) for row, _ in (better, worse)]
    frame: Frame = {
        "better": better[0].label,
        "worse": worse[0].label,
        "column": column.name,
        "reported": high["reported"] - low["reported"],
        "measured": None,
        "holds": None,
        "separated": None,
    }
    if high["measured"] is None or low["measured"] is None or cells[0] == cells[1]:
        return frame
    apart = difference(high["measured"], low["measured"])
    mean, around = apart["mean"], apart["ci95"]
    assert mean is not None
    separated = None if around is None else abs(mean) > around
    return {**frame, "measured": apart, "holds": mean > 0, "separated": separated}
