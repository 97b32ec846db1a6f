"""Run a plan in this process: each stage once, inputs first; a cell that fails stops no other."""

from __future__ import annotations

import errno
import importlib
import json
import shutil
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bench.contracts.context import StageContext, Watch
from bench.contracts.source import Code
from bench.contracts.tracker import NullTracker, Tracker
from bench.core.errors import BadInput, BenchError, StageFailed, Taken
from bench.core.params import Runtime
from bench.core.progress import Progress
from bench.core.running import note_work
from bench.core.stage import Provenance, Stage, walk
from bench.core.store import Store
from bench.launch.provenance import digest_of_stage, provenance
from bench.launch.tracked import TrackedRun, describe_stage
from bench.launch.tracking import make_tracker
from bench.plan.cell import Plan, PlannedCell

FOLLOW_SECONDS = 86400.0


class Listener(Protocol):
    """Records what happens (the results database)."""

    def stage_done(self, stage: Stage, folder: Path, provenance: Provenance) -> None: ...
    def cell_state(self, cell: PlannedCell, state: str, reason: str | None = None) -> None: ...
    def cell_done(self, cell: PlannedCell, folder: Path) -> None: ...


class Silent:
    """Records nothing: on other machines than the first, which keeps the record."""

    def stage_done(self, stage: Stage, folder: Path, provenance: Provenance) -> None: ...
    def cell_state(self, cell: PlannedCell, state: str, reason: str | None = None) -> None: ...
    def cell_done(self, cell: PlannedCell, folder: Path) -> None: ...


@dataclass
class Outcome:
    """What a run did: the keys it made and reused, and the error of every stage that failed."""

    made: dict[str, Stage] = field(default_factory=dict)
    reused: dict[str, Stage] = field(default_factory=dict)
    errors: dict[str, BenchError] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass
class LocalEngine:
    """Makes stages one after another in this process."""

    runtime: Runtime
    store: Store
    listener: Listener
    progress: Progress = field(default_factory=Progress)
    outcome: Outcome = field(default_factory=Outcome)
    # the cells of this command that need a stage, and its tracked run as another process says
    cells: dict[str, list[PlannedCell]] = field(default_factory=dict)
    runs: dict[str, TrackedRun] = field(default_factory=dict)
    finals: dict[str, PlannedCell] = field(default_factory=dict)
    # the keys of the last stages of the cells that need a stage
    needed_by: dict[str, list[str]] = field(default_factory=dict)
    forced: set[str] = field(default_factory=set)
    watch: Watch | None = None
    # stages not waited for where another process makes them: Taken
    leave: frozenset[str] = frozenset()
    noted: set[str] = field(default_factory=set)  # what a note was made about
    code: Code = field(default_factory=Code)
    digests: dict[str, str] = field(default_factory=dict)  # of the code of every stage, by its key

    def __post_init__(self) -> None:
        self.store.note = self.progress.note

    def run(self, plan: Plan) -> Outcome:
        """Every cell of the plan; errors end up in the outcome, Ctrl-C leaves it."""
        start = time.monotonic()
        if self.runtime.node > 0:
            self.listener = Silent()
        for planned in plan.cells:
            self._label(planned)
        self._run_cells(list(plan.cells))
        self.outcome.seconds = time.monotonic() - start
        return self.outcome

    def _run_cells(self, left: list[PlannedCell]) -> None:
        """In order, but a cell that needs what another process makes now has its turn after the
        others."""
        while left:
            later = left
            if len(left) > 1 and self.runtime.nodes == 1:  # several machines keep to one order
                self.leave = frozenset(self.cells)
                later = [planned for planned in left if not self._run_cell(planned)]
                self.leave = frozenset()
            if len(later) == len(left):
                self._run_cell(later.pop(0))
            left = later

    def _label(self, planned: PlannedCell) -> None:
        if planned.final is None:
            return
        self.finals.setdefault(planned.final.key, planned)
        for stage in walk(planned.final):
            self.cells.setdefault(stage.key, []).append(planned)
            self.needed_by.setdefault(stage.key, []).append(planned.final.key)
            self._digest(stage)
            if self.runtime.force:
                self.forced.add(stage.key)

    def _run_cell(self, planned: PlannedCell) -> bool:
        """Whether it has had its turn."""
        if planned.final is None:
            self.listener.cell_state(planned, "unsupported", planned.unsupported)
            return True
        try:
            if not self._hit(planned.final):
                self.listener.cell_state(planned, "running")
            folder = self.ensure(planned.final)
            self.listener.cell_done(planned, folder)
        except Taken as taken:
            self._note_once(str(taken), str(taken))
            return False
        except BenchError as error:
            self.listener.cell_state(planned, "failed", str(error))
        except KeyboardInterrupt:
            self.listener.cell_state(
                planned, "interrupted", "stopped by the user; the same command goes on"
            )
            raise
        return True

    def _hit(self, stage: Stage) -> bool:
        return stage.key not in self.forced and self.store.has(stage)

    def ensure(self, stage: Stage) -> Path:
        """The committed folder of `stage`, made if need be; raises what the stage or an input
        raised."""
        if stage.key in self.outcome.errors:
            raise self.outcome.errors[stage.key]
        if self._hit(stage):
            self._note_reuse(stage)
            return self.store.folder(stage)
        if self.runtime.node > 0:
            return self._follow(stage)
        try:
            inputs = {role: self._input(child) for role, child in stage.inputs.items()}
            with self.store.lock(stage, lambda who: self._wait(stage, who)):
                if self._hit(stage):  # made by another process meanwhile
                    self._note_reuse(stage)
                    return self.store.folder(stage)
                with self.store.use_inputs(stage):
                    return self._make(stage, self._look_again(stage, inputs))
        except Taken:
            raise
        except BenchError as error:
            self.outcome.errors.setdefault(stage.key, error)
            raise
        except OSError as error:  # no room even for a lock
            explained = self.outcome.errors[stage.key] = self._explain(stage, error)
            raise explained from error

    def _wait(self, stage: Stage, owner: str) -> None:
        if stage.key in self.leave:
            raise Taken(f"{stage}: left to {owner}")
        self.progress.note(f"{stage}: waiting for {owner}")

    def _note_once(self, about: str, text: str) -> None:
        if about not in self.noted:
            self.noted.add(about)
            self.progress.note(text)

    def _follow(self, stage: Stage) -> Path:
        """On another machine than the first: take part where the stage's runner is done by all
        (`join` beside it), and wait until the first machine has committed it."""
        inputs = {role: self.ensure(child) for role, child in stage.inputs.items()}
        module = importlib.import_module(stage.runner.partition(":")[0])
        join: Callable[[StageContext], None] | None = getattr(module, "join", None)
        if join and not self.store.has(stage):
            join(StageContext(stage, self.store.work(stage), inputs, self.runtime))
        until = time.monotonic() + FOLLOW_SECONDS
        while not self.store.has(stage):
            if time.monotonic() > until:
                raise StageFailed(
                    f"{stage}: the first machine has not made it within a day; look there"
                )
            time.sleep(0.5)
        self._note_reuse(stage)
        return self.store.folder(stage)

    def _note_reuse(self, stage: Stage) -> None:
        if stage.key not in self.outcome.made:
            self.outcome.reused[stage.key] = stage

    def _input(self, stage: Stage) -> Path:
        folder = self.ensure(stage)
        if stage.key not in self.outcome.made and not self.store.verify(stage):
            folder = self.ensure(stage)
        return folder

    def _look_again(self, stage: Stage, inputs: dict[str, Path]) -> dict[str, Path]:
        """The inputs, made again where `bench gc` deleted them before this stage used them."""
        return {
            role: folder if (folder / "done").exists() else self._input(stage.inputs[role])
            for role, folder in inputs.items()
        }

    def _make(self, stage: Stage, inputs: dict[str, Path]) -> Path:
        if stage.key in self.forced:
            self.store.discard(stage)
            self.forced.discard(stage.key)
        work = self.store.work(stage)
        note_work(work, stage, self.needed_by.get(stage.key, []))
        tracker = self._tracker(stage)
        started, digest = time.time(), self._digest(stage)
        ctx = StageContext(stage, work, inputs, self.runtime, self.progress, tracker, self.watch)
        try:
            runner(stage)(ctx)
            self._check_sources(stage)
            seconds = time.time() - started
            record = provenance(started, seconds, digest, tracker.url)
            summary = self._results(stage, work, record)
            folder = self.store.commit(stage, record)
        except KeyboardInterrupt:
            tracker.finish(failed=True)
            raise
        except Exception as error:
            traceback.clear_frames(error.__traceback__)  # loaders they hold end their processes
            tracker.finish(failed=True)
            raise self._explain(stage, error) from error
        tracker.finish(summary)
        self.outcome.made[stage.key] = stage
        self.outcome.reused.pop(stage.key, None)
        self.listener.stage_done(stage, folder, record)
        return folder

    def _check_sources(self, stage: Stage) -> None:
        """The data are still those that the stage's key names; else nobody knows what it was made
        from, and it is dropped. Where they cannot be read just now, its work stays: the same
        command goes on with it."""
        from bench.data.contents import DataChanged, check_sources

        try:
            check_sources(stage, self.runtime)
        except DataChanged:
            self.store.discard(stage)
            raise

    def _digest(self, stage: Stage) -> str:
        """The digest of the stage's code, taken once and early: an edit while the run goes on does
        not reach the code that this process has imported."""
        if stage.key not in self.digests:
            self.digests[stage.key] = digest_of_stage(self.code, stage)
        return self.digests[stage.key]

    def tracked_run(self, stage: Stage) -> TrackedRun:
        """What a tracker shows of the stage."""
        return self.runs.get(stage.key) or describe_stage(stage, self.cells.get(stage.key, ()))

    def _tracker(self, stage: Stage) -> Tracker:
        if self.runtime.tracker == "none":
            return NullTracker()
        return make_tracker(self.runtime, self.tracked_run(stage), self.progress.note)

    def _results(self, stage: Stage, work: Path, record: Provenance) -> dict[str, float]:
        """Write result.json where the stage is a cell's last; return its metrics."""
        planned = self.finals.get(stage.key)
        if planned is None:
            return {}
        from bench.results.db.result_file import describe_result, write_result

        metrics = json.loads((work / "metrics.json").read_text())
        write_result(work, describe_result(planned, stage, metrics, record))
        return dict(metrics)

    def _explain(self, stage: Stage, error: Exception) -> BenchError:
        """The error as one line; the traceback goes to a file."""
        if isinstance(error, BenchError):
            return error
        full = isinstance(error, OSError) and error.errno in (
            errno.ENOSPC,
            errno.EDQUOT,
            errno.EROFS,
        )
        if full or shutil.disk_usage(self.store.home).free < 1 << 20:
            return BadInput(
                f"{stage}: no space left in BENCH_HOME {self.store.home}; nothing is lost: free "
                "some (bench gc) and run the same command again"
            )
        log = self.store.home / "failures" / f"{stage.short}.log"
        with suppress(OSError):
            log.parent.mkdir(exist_ok=True)
            log.write_text("".join(traceback.format_exception(error)))
        text = " ".join(str(error).split())[:300]
        return StageFailed(f"{stage} failed: {type(error).__name__}: {text}; traceback: {log}")


def runner(stage: Stage) -> Callable[[StageContext], None]:
    """The function that `stage.runner` names."""
    module, _, name = stage.runner.partition(":")
    function: Callable[[StageContext], None] = getattr(importlib.import_module(module), name)
    return function
