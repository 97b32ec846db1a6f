"""What runs now: cells in the state `running`, and what their stages have written so far.

A stage that is being made says in its work folder which cells it is made for
(`bench.core.running`), so that its learning curve is found before anything of it is recorded.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from bench.core.home import home_folder
from bench.core.running import list_work
from bench.results.db.models import CellRow
from bench.results.views.stage_files import read_learning_curve

HISTORY = "history.jsonl"


class RunningCell(NamedTuple):
    """A cell in the state `running`; one whose command was killed stays in it."""

    label: str
    method: str
    crop: str
    task: str
    seed: int


class LiveStage(NamedTuple):
    """A stage in its work folder. `quiet`: seconds since it last wrote figures, None before the
    first ones."""

    title: str
    rows: list[dict[str, float]]
    quiet: float | None


def count_running(connection: Connection) -> int:
    """How many cells are in the state `running`, those of sweeps' trials among them."""
    query = select(func.count()).select_from(CellRow).where(CellRow.state == "running")
    return connection.scalar(query) or 0


def list_running(connection: Connection, most: int) -> list[RunningCell]:
    """The first `most` cells that run, by their names."""
    columns = (CellRow.label, CellRow.method, CellRow.crop, CellRow.task, CellRow.seed)
    query = select(*columns).where(CellRow.state == "running").order_by(*columns[1:]).limit(most)
    return [RunningCell(*row) for row in connection.execute(query)]


def read_live_stages(label: str, home: Path | None = None) -> list[LiveStage]:
    """The stages that are being made for a cell, the one that wrote last first."""
    stages = []
    for folder, work in list_work(home or home_folder()):
        if label in work["cells"]:
            stage = work["stage"]
            rows = read_learning_curve(folder)
            title = f"{stage['kind']}/{stage['name']} {stage['key'][:12]}"
            stages.append(LiveStage(title, rows, _quiet_seconds(folder) if rows else None))
    return sorted(stages, key=lambda s: (s.quiet is None, s.quiet, s.title))


def _quiet_seconds(folder: Path) -> float | None:
    try:
        return max(0.0, time.time() - (folder / HISTORY).stat().st_mtime)
    except OSError:
        return None
