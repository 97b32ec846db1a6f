"""The board of a command as a run of its tracker."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bench.api.tables import frame_rows
from bench.core.params import digest
from bench.launch.tracked import TrackedRun
from bench.launch.tracking import make_tracker

if TYPE_CHECKING:
    from bench.core.params import Runtime
    from bench.core.progress import Progress
    from bench.launch.local import Outcome
    from bench.plan.cell import Plan
    from bench.results.db.database import Database
    from bench.results.db.records import LeaderboardRow

CELL = ("method", "crop", "task", "scale", "pretrain_data", "task_data", "engine", "overrides")
COLUMNS = (*CELL, "seeds", "metric", "mean", "ci95", "mark", "dead")


def track_board(
    plan: Plan, outcome: Outcome, runtime: Runtime, database: Database, progress: Progress
) -> None:
    """Show the rows of the plan's cells as a table, if one of them has just been scored. The same
    rows are the same run."""
    finals = {c.final.key for c in plan.cells if c.final}
    if runtime.tracker == "none" or not finals & outcome.made.keys():
        return
    rows = database.read_rows_of(finals - outcome.errors.keys())
    groups = sorted(row["group"] for row in rows)
    config: dict[str, Any] = {"rows": len(rows), "cells": len(finals)}
    for name in ("method", "crop", "task", "scale"):
        config[name] = ", ".join(sorted({str(row[name]) for row in rows}))  # type: ignore[literal-required]
    key = digest({"board": groups})
    tracked = TrackedRun(key[:16], "leaderboard", "leaderboard", "leaderboard", config)
    tracker = make_tracker(runtime, tracked, progress.note)
    tracker.table("leaderboard", COLUMNS, list_rows(rows))
    tracker.finish({"rows": len(rows)})


def list_rows(rows: Sequence[LeaderboardRow]) -> list[list[Any]]:
    """A line for each row of the leaderboard, with its headline metric: one kind of value in each
    of `COLUMNS`, None where there is none."""
    lines = []
    for row in frame_rows(rows).to_dict("records"):
        mean, ci95 = (row.get(f"{row['headline']}{end}") for end in ("", " ci95"))
        values = [str(row[name]) for name in CELL]
        line = [int(row["seeds"]), row["headline"], _number(mean), _number(ci95)]
        lines.append([*values, *line, row["mark"], bool(row["dead"])])
    return lines


def _number(value: Any) -> float | None:
    known = isinstance(value, int | float) and math.isfinite(value)
    return float(value) if known else None
