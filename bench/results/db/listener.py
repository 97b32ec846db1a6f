"""Record what an engine does in the results database, as it happens."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal

from bench.core.errors import StageFailed
from bench.core.records import DamagedFolder, read_provenance
from bench.core.stage import Provenance, Stage, walk
from bench.plan.cell import PlannedCell
from bench.results.db.connection import DatabaseProblem
from bench.results.db.database import Database
from bench.results.db.kept import keep_cell
from bench.results.db.records import CellRecord, CropStatistics, ResultRecord
from bench.results.db.result_file import describe_cell, read_result

REST_SECONDS = 30.0  # between tries to write to a database that could not be written


def _print_note(text: str) -> None:
    print(text, file=sys.stderr)


class DatabaseListener:
    """Records stages, cell states and results.

    A database that cannot be written (locked, disk full, connection lost) stops no training: the
    truth is in the store. `note` gets one line, what could not be written is kept in order and
    tried again every `REST_SECONDS`, and a last time by `close`. What is still missing then is in
    `error`; `bench results rebuild` catches up. Where `home` is given, cells that are not done
    leave a file there for it (`bench.results.db.kept`).
    """

    def __init__(
        self,
        database: Database,
        note: Callable[[str], None] = _print_note,
        home: Path | None = None,
    ) -> None:
        self.database = database
        self.note = note
        self.home = home
        self._waiting: deque[Callable[[], None]] = deque()
        self._resting_until = 0.0
        self._put_off_by: str | None = None
        self._lost_by: str | None = None

    @property
    def error(self) -> str | None:
        """What the database said, where something is missing in it now."""
        return self._lost_by or self._put_off_by

    def _write(self, action: Callable[[], None]) -> None:
        self._waiting.append(action)
        if time.monotonic() >= self._resting_until:
            self._write_waiting()

    def _write_waiting(self) -> None:
        """Write what waits, in order, until something cannot be written yet."""
        while self._waiting:
            try:
                self._waiting[0]()
            except DatabaseProblem as problem:
                if problem.passing:
                    return self._put_off(problem)
                self._lost_by = problem.reason  # the others may be written all the same
            self._waiting.popleft()
        if self._put_off_by:
            self._put_off_by = None
            self.note("the results database can be written again, and is up to date")

    def _put_off(self, problem: DatabaseProblem) -> None:
        self._resting_until = time.monotonic() + REST_SECONDS
        if not self._put_off_by:
            self.note(
                f"the results database cannot be written now ({problem.reason}); work goes on, "
                "and what is missing is written as soon as it can be"
            )
        self._put_off_by = problem.reason

    def close(self) -> None:
        """Write what waits, if it can be written at last."""
        self._write_waiting()

    def stage_done(self, stage: Stage, folder: Path, provenance: Provenance) -> None:
        stats = _read_stats(stage, folder)
        self._write(lambda: self._record_stage(stage, folder, provenance, stats))

    def _record_stage(
        self, stage: Stage, folder: Path, provenance: Provenance, stats: CropStatistics | None
    ) -> None:
        where = f"{stage.kind}/{folder.name}"
        self.database.record_stage(stage.record(), where, provenance)
        if stats is not None:
            self.database.record_crop(stage.record(), stats)

    def cell_state(self, cell: PlannedCell, state: str, reason: str | None = None) -> None:
        record = describe_cell(cell)
        self._keep(record, state, reason)
        self._write(lambda: self.database.record_cell(record, state, reason))

    def cell_done(self, cell: PlannedCell, folder: Path) -> None:
        record = _name_as_asked(read_result(folder), describe_cell(cell))
        self._write(lambda: self._catch_up(cell, folder.parent.parent))
        self._write(lambda: self.database.record_result(record))
        self._keep(record["cell"], "done", None)

    def _keep(self, cell: CellRecord, state: str, reason: str | None) -> None:
        """A file for a rebuild; a full disk has no room for it, which ends nothing."""
        if self.home is not None:
            with suppress(OSError, StageFailed):
                keep_cell(self.home, cell, state, reason)

    def _catch_up(self, cell: PlannedCell, store: Path) -> None:
        """Record the cell's stages that a killed command made but did not record."""
        stages = {s.key: s for s in walk(cell.final)} if cell.final else {}
        lost = self.database.find_unrecorded(stages)
        for stage in (s for key, s in stages.items() if key in lost):
            folder = store / stage.kind / f"{stage.name}-{stage.short}"
            with suppress(OSError, ValueError, DamagedFolder):  # deleted by `bench gc`, or torn
                provenance, stats = read_provenance(folder), _read_stats(stage, folder)
                self._record_stage(stage, folder, provenance, stats)


def _name_as_asked(record: ResultRecord, asked: CellRecord) -> ResultRecord:
    """The result with the names that the user gives data and weights now; the folder has those of
    the command that made it."""
    cell = record["cell"]
    names: tuple[Literal["pretrain_name", "task_name"], ...] = ("pretrain_name", "task_name")
    for name in names:
        cell[name] = asked[name] or cell[name]
    if cell["method"].startswith("weights:"):
        cell["method"] = asked["method"]
    return record


def _read_stats(stage: Stage, folder: Path) -> CropStatistics | None:
    """The statistics that a crop_stats stage left; other stages have none."""
    if stage.kind != "crop_stats":
        return None
    stats: CropStatistics = json.loads((folder / "stats.json").read_text())
    return stats
