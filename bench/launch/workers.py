"""Processes of this machine, one for each stage being made.

They are forked from a server that has imported what stages need and has touched neither a GPU nor
OpenMP, so that a stage starts at once, its memory is returned when it ends, and what kills it
kills nothing else. A worker dies with the server, the server with this process.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any

from bench.core.progress import Progress
from bench.core.relay import Pipe, Relay, Replay, messages
from bench.core.signals import hold_back_stop, listen_for_stop
from bench.core.stage import Stage
from bench.launch.jobs import Job, Report, limit_threads, make

# what a runner's module imports late, after seconds
PRELOAD = {"bench.stages.pretrain.setup": "bench.stages.pretrain.loop"}

TRIES = 5  # to start a process


@dataclass(frozen=True)
class Slot:
    """A place for a worker: its threads, and the GPUs it sees ("0,1"; None: as this process)."""

    threads: int
    gpus: str | None = None


@dataclass
class Worker:
    """A process and the stage it makes."""

    stage: Stage
    slot: Slot
    process: Any
    pipe: Connection
    replay: Replay
    report: Report | None = None


@dataclass
class Workers:
    """The workers that run now."""

    progress: Progress
    running: list[Worker] = field(default_factory=list)

    def prepare(self, stages: Iterable[Stage]) -> None:
        """Let the server import what these stages need, once for all."""
        modules = {stage.runner.partition(":")[0] for stage in stages}
        late = [PRELOAD[m] for m in modules if m in PRELOAD]
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload([__name__, *sorted(modules), *late])
        resource_tracker.ensure_running()  # later it would undo `hold_back_stop`
        # Python's own note that a killed process left semaphores, which it has cleaned up when it
        # says so.
        sys.warnoptions.append("ignore:resource_tracker")

    def start(self, job: Job, slot: Slot) -> None:
        """Begin with a stage."""
        pipe, says = self.context.Pipe(duplex=False)
        process = self._process(job, slot, says)
        says.close()
        mark = job.stage.short[:6]
        self.running.append(Worker(job.stage, slot, process, pipe, Replay(self.progress, mark)))

    def _process(self, *arguments: Any) -> Any:
        for attempt in range(TRIES):
            process = self.context.Process(target=_main, args=arguments)
            with hold_back_stop():
                try:
                    process.start()
                    return process
                # the server was killed in this moment; a new one is started
                except (OSError, EOFError):
                    if attempt == TRIES - 1:
                        raise
            time.sleep(0.1)
        return None

    def wait(self, seconds: float) -> list[Worker]:
        """Show what the workers say, for up to `seconds`; those that have ended, with their report
        if they came to give one."""
        wait([x for w in self.running for x in (w.pipe, w.process.sentinel)], seconds)
        # before their last words are read
        ended = [w for w in self.running if not w.process.is_alive()]
        for worker in self.running:
            for kind, *rest in messages(worker.pipe):
                if kind == "report":
                    worker.report = rest[0]
                else:
                    worker.replay.hear(kind, *rest)
        for worker in ended:
            self._bury(worker)
        return ended

    def ask_to_stop(self) -> None:
        """Every worker saves and ends."""
        for worker in self.running:
            _signal(worker, signal.SIGTERM)

    def kill(self) -> None:
        """End every worker, and what it started, now."""
        for worker in list(self.running):
            with suppress(OSError):
                os.killpg(worker.process.pid, signal.SIGKILL)
            worker.process.kill()
            self._bury(worker)

    def _bury(self, worker: Worker) -> None:
        worker.process.join()
        worker.pipe.close()
        worker.replay.end()
        self.running.remove(worker)


def _signal(worker: Worker, number: signal.Signals) -> None:
    with suppress(OSError):
        os.kill(worker.process.pid, number)


def _main(job: Job, slot: Slot, says: Connection) -> None:
    """A worker's whole life."""
    from bench.core.processes import die_with_parent

    die_with_parent()
    parent = multiprocessing.parent_process()
    if parent is None or not parent.is_alive():  # it went before we asked to go with it
        os._exit(1)
    with suppress(OSError):
        os.setsid()  # Ctrl-C in the terminal is for the first process alone, which then asks us
    limit_threads(slot.threads)
    if slot.gpus is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = slot.gpus
    say = Pipe(says)
    report = Report(job.stage.key, stopped=True)
    with suppress(KeyboardInterrupt), listen_for_stop(at_once=True):
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        report = make(job, Relay(say), patient=False)
    say("report", report)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # threads that a library left behind have no say in it
