"""Record what an engine does in the results database, as it happens."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from sqlalchemy.exc import DatabaseError

from bench.core.records import DamagedFolder, read_provenance
from bench.core.redact import redact
from bench.core.stage import Provenance, Stage, walk
from bench.plan.cell import PlannedCell
from bench.results.db.database import Database
from bench.results.db.result_file import describe_cell, read_result


class DatabaseListener:
    """Records stages, cell states and results.

    A database that cannot be written (disk full, connection lost) stops no training: the truth is
    in the store. The first error is kept in `error`; `bench results rebuild` catches up.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.error: str | None = None

    def _write(self, action: Callable[[], None]) -> None:
        try:
            action()
        except DatabaseError as error:
            self.error = self.error or redact(" ".join(str(error.orig).split()))[:160]

    def stage_done(self, stage: Stage, folder: Path, provenance: Provenance) -> None:
        where = f"{stage.kind}/{folder.name}"
        self._write(lambda: self.database.record_stage(stage.record(), where, provenance))
        if stage.kind == "crop_stats":
            stats = json.loads((folder / "stats.json").read_text())
            self._write(lambda: self.database.record_crop(stage.record(), stats))

    def cell_state(self, cell: PlannedCell, state: str, reason: str | None = None) -> None:
        self._write(lambda: self.database.record_cell(describe_cell(cell), state, reason))

    def cell_done(self, cell: PlannedCell, folder: Path) -> None:
        record = read_result(folder)
        self._write(lambda: self._catch_up(cell, folder.parent.parent))
        self._write(lambda: self.database.record_result(record))

    def _catch_up(self, cell: PlannedCell, store: Path) -> None:
        """Record the cell's stages that a killed command made but did not record."""
        stages = {s.key: s for s in walk(cell.final)} if cell.final else {}
        lost = self.database.find_unrecorded(stages)
        for stage in (s for key, s in stages.items() if key in lost):
            folder = store / stage.kind / f"{stage.name}-{stage.short}"
            with suppress(OSError, ValueError, DamagedFolder):  # deleted by `bench gc`, or torn
                self.stage_done(stage, folder, read_provenance(folder))
