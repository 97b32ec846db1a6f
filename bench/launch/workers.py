"""Processes of this machine, one for each stage being made.

They are forked from a server that has imported what stages need and has touched neither a GPU nor
OpenMP, so that a stage starts at once, its memory is returned when it ends, and what kills it
kills nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from bench.core.progress import Progress
from bench.core.relay import Message, Relay, Replay, Send
from bench.core.signals import accept_stop, listen_for_stop
from bench.core.stage import Stage
from bench.core.supervisor import Child, Supervisor
from bench.launch.jobs import Job, Report, limit_threads, make

# what a runner's module imports late, after seconds
PRELOAD = {"bench.stages.pretrain.setup": "bench.stages.pretrain.loop"}


@dataclass(frozen=True)
class Slot:
    """A place for a worker: its threads, and the GPUs it sees ("0,1"; None: as this process)."""

    threads: int
    gpus: str | None = None


@dataclass(eq=False)
class Worker(Child):
    """A process and the stage it makes."""

    stage: Stage
    slot: Slot
    replay: Replay
    report: Report | None = None

    def clear_up(self) -> None:
        self.replay.end()


class Workers(Supervisor[Worker]):
    """The workers that run now; the server has imported what `stages` need."""

    def __init__(self, progress: Progress, stages: Iterable[Stage]) -> None:
        modules = {stage.runner.partition(":")[0] for stage in stages}
        late = [PRELOAD[m] for m in modules if m in PRELOAD]
        super().__init__("forkserver", [__name__, *sorted(modules), *late])
        self.progress = progress

    def begin(self, job: Job, slot: Slot) -> None:
        """Begin with a stage."""
        worker = Worker(job.stage, slot, Replay(self.progress, job.stage.short[:6]))
        self.start(worker, _make_stage, job, slot)

    def wait_for_reports(self, seconds: float) -> list[Worker]:
        """Show the workers' progress for up to `seconds`; returns those that have ended, with
        their report where they sent one."""
        return self.wait(seconds, _receive)


def _receive(worker: Worker, message: Message) -> None:
    kind, *rest = message
    if kind == "report":
        worker.report = rest[0]
    else:
        worker.replay.show(kind, *rest)


def _make_stage(send: Send, job: Job, slot: Slot) -> None:
    """What a worker does."""
    with suppress(OSError):
        os.setsid()  # Ctrl-C in the terminal is for the first process alone, which then asks us
    limit_threads(slot.threads)
    if slot.gpus is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = slot.gpus
    report = Report(job.stage.key, stopped=True)
    with suppress(KeyboardInterrupt), listen_for_stop(at_once=True):
        accept_stop()
        report = make(job, Relay(send), patient=False)
    send("report", report)
