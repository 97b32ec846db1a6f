"""Writes what an engine does into the results database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.cell import PlannedCell
from bench.results.database import Database
from bench.results.record import cell_record, read_result
from bench.stage import Stage


class DatabaseListener:
    """Stages, cell states and results, as they happen."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def stage_done(self, stage: Stage, folder: Path, provenance: dict[str, Any]) -> None:
        self.database.record_stage(stage.record(), f"{stage.kind}/{folder.name}", provenance)

    def cell_state(self, cell: PlannedCell, state: str, reason: str | None = None) -> None:
        self.database.record_cell(cell_record(cell), state, reason)

    def cell_done(self, cell: PlannedCell, folder: Path) -> None:
        self.database.record_result(read_result(folder))
