"""A plan as a graph of jobs for other processes; their reports become the outcome.

A launcher (`bench.launch.launchers`) says in `reports` how jobs are run; here is what all of them
share: which stages are wanted, what a failure means for the rest, and what is recorded.
Only this process writes to the results database.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import ClassVar

from bench.core.errors import BenchError
from bench.core.params import Runtime
from bench.core.records import read_provenance
from bench.core.signals import StopRequest, listen_for_stop
from bench.core.stage import Stage, walk
from bench.launch.jobs import Job, Report
from bench.launch.local import LocalEngine, Outcome
from bench.plan.cell import Plan, PlannedCell

# kinds of stages that use no GPU
ON_CPU = ("annotations", "data", "crop_stats", "recall", "file", "weights")


@dataclass
class GraphEngine(LocalEngine):
    """`run` through other processes; `ensure`, for single stages, in this one."""

    wanted: dict[str, Stage] = field(default_factory=dict)
    # stage -> the cells that wait for it
    users: dict[str, list[PlannedCell]] = field(default_factory=dict)
    running: dict[int, PlannedCell] = field(default_factory=dict)
    stop: StopRequest = field(default_factory=StopRequest)
    # what is recorded of a cell whose stages were being made when this process was asked to stop
    interrupted: ClassVar[str] = "stopped; the same command goes on"

    @abstractmethod
    def reports(self, wanted: Mapping[str, Stage]) -> Iterator[Report]:
        """Make the stages (inputs come before what needs them): a report of each that was made or
        failed. Ends early, every process saved and gone, once `self.stop` was asked."""

    def open_resources(self) -> AbstractContextManager[None]:
        """What must be open while stages are made."""
        return nullcontext()

    def run(self, plan: Plan) -> Outcome:
        """Every cell of the plan; errors end up in the outcome, Ctrl-C leaves it after all have
        saved."""
        start = time.monotonic()
        for planned in plan.cells:
            self._label(planned)
        for planned in plan.cells:
            self._want(planned)
        if self.wanted:
            self._make_wanted()
        self.outcome.seconds = time.monotonic() - start
        return self.outcome

    def _want(self, planned: PlannedCell) -> None:
        if planned.final is None:
            self.listener.cell_state(planned, "unsupported", planned.unsupported)
        elif self._needed(planned.final):
            for stage in walk(planned.final):
                self.users.setdefault(stage.key, []).append(planned)
        else:
            self._done(planned)

    def _needed(self, stage: Stage) -> bool:
        if stage.key in self.wanted:
            return True
        if self._hit(stage):
            self._note_reuse(stage)
            return False
        for child in stage.inputs.values():
            self._needed(child)
        self.wanted[stage.key] = stage
        return True

    def _make_wanted(self) -> None:
        advance = self.progress.task("stages", len(self.wanted))
        try:
            with self.open_resources(), listen_for_stop() as self.stop:
                for report in self.reports(self.wanted):
                    self._record(report)
                    advance(1)
        except KeyboardInterrupt:
            self.stop.asked = True
            raise
        finally:
            for planned in self.running.values() if self.stop.asked else ():
                self.listener.cell_state(planned, "interrupted", self.interrupted)
        if self.stop.asked:
            raise KeyboardInterrupt

    def job(self, stage: Stage, runtime: Runtime) -> Job:
        """What a process gets. Where the stage is forced, what there is of it is dropped now, and
        only once: a second try goes on from the work of the first."""
        if stage.key in self.forced:
            with self.store.lock(stage):
                self.store.discard(stage)
            self.forced.discard(stage.key)
        alone = runtime.model_copy(update={"force": False})
        run, planned = self.tracked_run(stage), self.finals.get(stage.key)
        return Job(stage, alone, run, planned, tuple(self.needed_by.get(stage.key, ())))

    def note_begun(self, key: str) -> None:
        """A process has begun with a stage."""
        for planned in self.users.get(key, []):
            if id(planned) not in self.running and self._alive(planned):
                self.running[id(planned)] = planned
                self.listener.cell_state(planned, "running")

    def is_useful(self, key: str) -> bool:
        """Whether a cell that has not failed waits for the stage."""
        return any(map(self._alive, self.users.get(key, [])))

    def _alive(self, planned: PlannedCell) -> bool:
        return planned.final is not None and planned.final.key not in self.outcome.errors

    def _record(self, report: Report) -> None:
        stage = self.wanted[report.key]
        for done, record in report.made:
            self.outcome.made[done.key] = done
            self.listener.stage_done(done, self.store.folder(done), record)
        if report.error:
            self._fail(stage, report.error)
            return
        if stage.key not in self.outcome.made:
            self._record_made_elsewhere(stage)
        for planned in self.users.get(stage.key, []):
            if planned.final and planned.final.key == stage.key:
                self.running.pop(id(planned), None)
                self._done(planned)

    def _record_made_elsewhere(self, stage: Stage) -> None:
        """Made by another process, or by one of ours that was killed before it could say so."""
        folder = self.store.folder(stage)
        self._note_reuse(stage)
        self.listener.stage_done(stage, folder, read_provenance(folder))

    def _fail(self, stage: Stage, error: BenchError) -> None:
        """The stage's error is that of every stage above it, and of their cells."""
        self.outcome.errors[stage.key] = error
        for other in self.wanted.values():
            if any(child.key in self.outcome.errors for child in other.inputs.values()):
                self.outcome.errors.setdefault(other.key, error)
        for planned in self.users.get(stage.key, []):
            self.running.pop(id(planned), None)
            self.listener.cell_state(planned, "failed", str(error))

    def _done(self, planned: PlannedCell) -> None:
        assert planned.final is not None
        try:
            self.listener.cell_done(planned, self.store.folder(planned.final))
        except BenchError as error:  # its result.json cannot be read
            self.outcome.errors[planned.final.key] = error
            self.listener.cell_state(planned, "failed", str(error))


def depths(stages: Mapping[str, Stage]) -> dict[str, int]:
    """How many of these stages each one waits for, one after another, by key."""
    depth: dict[str, int] = {}

    def measure(stage: Stage) -> int:
        if stage.key not in depth:
            inputs = [c for c in stage.inputs.values() if c.key in stages]
            depth[stage.key] = 1 + max(map(measure, inputs), default=-1)
        return depth[stage.key]

    for stage in stages.values():
        measure(stage)
    return depth


def by_depth(wanted: Mapping[str, Stage]) -> list[str]:
    """Stages whose inputs are there first, then those that need only these, and so on."""
    return sorted(wanted, key=depths(wanted).__getitem__)
