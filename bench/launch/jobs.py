"""A stage that another process makes: the job it gets and the report it returns."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from bench.core.errors import BenchError, Taken
from bench.core.params import Runtime
from bench.core.progress import Progress
from bench.core.stage import Provenance, Stage
from bench.core.store import Store
from bench.launch.local import LocalEngine, Silent
from bench.launch.tracked import TrackedRun
from bench.plan.cell import PlannedCell

Made = tuple[Stage, Provenance]


@dataclass(frozen=True)
class Job:
    """One stage. `run`: what a tracker shows of it; `planned`: the cell whose last stage it is;
    `needed_by`: the keys of the last stages of the cells that need it."""

    stage: Stage
    runtime: Runtime
    run: TrackedRun
    planned: PlannedCell | None
    needed_by: tuple[str, ...] = ()


@dataclass
class Report:
    """How it ended: the stages made on the way with their provenance (an input that was damaged is
    made again), and the error, that the process was asked to stop, or the line that says who else
    makes it."""

    key: str
    made: list[Made] = field(default_factory=list)
    error: BenchError | None = None
    stopped: bool = False
    taken: str = ""


class _Recorder(Silent):
    """Keeps what was made."""

    def __init__(self) -> None:
        self.made: list[Made] = []

    def stage_done(self, stage: Stage, folder: Path, provenance: Provenance) -> None:
        self.made.append((stage, provenance))


def make(job: Job, progress: Progress, patient: bool = True) -> Report:
    """Make the job's stage in this process, unless it is made already. Its lock, its work folder
    and so its checkpoints are those of any other process that makes it; while one does, this one
    waits, or does nothing if it is not `patient`. Errors are in the report, not raised."""
    listener, stage = _Recorder(), job.stage
    report = Report(stage.key, listener.made)
    try:
        engine = LocalEngine(job.runtime, Store(job.runtime.home), listener, progress)
        engine.leave = frozenset(() if patient else [stage.key])
        engine.runs[stage.key] = job.run
        engine.needed_by[stage.key] = list(job.needed_by)
        if job.planned:
            engine.finals[stage.key] = job.planned
        engine.ensure(stage)
    except Taken as error:
        report.taken = str(error)
    except BenchError as error:
        report.error = error.with_traceback(None)
        report.error.__cause__ = report.error.__context__ = None
    except KeyboardInterrupt:
        report.stopped = True
    return report


def threads_of(runtime: Runtime, cpus: int) -> int:
    """Torch threads of a step that has `cpus` cores: those of --threads, or else the cores divided
    over the devices, but no more than OMP_NUM_THREADS."""
    if runtime.threads:
        return runtime.threads
    share = max(1, cpus // (runtime.devices if isinstance(runtime.devices, int) else 1))
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return min(share, int(limit)) if limit.isdecimal() and int(limit) else share


def limit_threads(count: int) -> None:
    """Use at most `count` threads of torch, OpenCV and BLAS in this process, whether they are
    imported already or not."""
    for name in ("OMP_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"):
        os.environ[name] = str(count)
    for name, function in (("torch", "set_num_threads"), ("cv2", "setNumThreads")):
        if name in sys.modules:
            getattr(sys.modules[name], function)(count)
