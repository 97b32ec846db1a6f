"""The driver of a sweep: keeps worker processes going and shows what they do.

It holds nothing that is not in the database, so that it may be killed at any moment.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.core.errors import StageFailed
from bench.core.supervisor import Child, Command, Supervisor
from bench.results.views.studies import lost, trial_row
from bench.sweep.study import Sweep

POLL_SECONDS = 0.5
LOOK_SECONDS = 2.0  # between looks for more work while a worker is missing
STOP_SECONDS = 60.0  # for a worker to save its checkpoint
CRASHES = 3  # of workers in a row without a trial ended between them


@dataclass(eq=False)
class SweepWorker(Child):
    """A process that takes trials, and its number from 0."""

    number: int


@dataclass
class Pool:
    """`count` processes of this machine that take trials. `command` starts one, given its number.
    `gpus`: CUDA_VISIBLE_DEVICES of each in turn (`bench.launch.launchers.gpu_groups`); empty: they
    see the same.
    """

    sweep: Sweep
    count: int
    command: Callable[[int], Sequence[str]]
    logs: Path
    until: float = float("inf")
    gpus: Sequence[str] = ()
    workers: Supervisor[SweepWorker] = field(default_factory=Supervisor)
    crashes: int = 0
    ended: int = 0
    look_again: float = 0.0

    def run(self, show: Callable[[list[dict[str, Any]], dict[str, str]], None]) -> None:
        """Until no trial is left here or on another machine, or the time is over; `show(rows,
        doing)` is called about twice a second. Ctrl-C stops the workers after their checkpoints.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        try:
            while self._step():
                show(self.rows(), self.doing())
                time.sleep(POLL_SECONDS)
        finally:
            self.stop()
        show(self.rows(), {})

    def rows(self) -> list[dict[str, Any]]:
        """The trials but for lost ones."""
        return [trial_row(t) for t in self.sweep.trials() if not lost(t)]

    def doing(self) -> dict[str, str]:
        """The last line that each worker has printed, by "host:pid"."""
        host = socket.gethostname()
        return {f"{host}:{p.pid}": last_line(self.log(n)) for n, p in self.processes.items()}

    @property
    def processes(self) -> dict[int, Command]:
        """The worker processes that run now, by number."""
        running = ((w.number, w.process) for w in self.workers.running)
        return {number: process for number, process in running if isinstance(process, Command)}

    def log(self, number: int) -> Path:
        return self.logs / f"worker-{number}.log"

    def _step(self) -> bool:
        """Start, count and replace workers; False when there is nothing left to do."""
        for worker in self.workers.wait(0):
            self._count_end(worker)
        running = self.workers.running
        if time.time() >= self.until:
            return bool(running)
        if len(running) >= self.count or time.monotonic() < self.look_again:
            return True
        self.look_again = time.monotonic() + LOOK_SECONDS
        if self._work_left():
            while len(running) < min(self.count, self._open_trials()):
                self._start()
            return True
        return bool(running) or bool(self.sweep.running())

    def _work_left(self) -> bool:
        with self.sweep.gate():
            self.sweep.give_back()
            return self.sweep.more()

    def _open_trials(self) -> int:
        """How many trials are waiting, running, or may still be drawn: more workers have nothing
        to do."""
        states = [r["state"] for r in self.rows()]
        drawn = 0 if self.sweep.setup.grid else self.sweep.setup.trials - len(states)
        return states.count("waiting") + states.count("running") + max(drawn, 0)

    def _start(self) -> None:
        number = next(n for n in range(self.count) if n not in self.processes)
        # in a session of its own: Ctrl-C comes to the driver alone, which asks each worker once
        self.workers.start_command(
            SweepWorker(number), self.command(number), self.log(number), self._environment(number)
        )

    def _environment(self, number: int) -> dict[str, str]:
        """Workers share the GPUs in turn, and a CPU's cores evenly, unless the environment divides
        them."""
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        if self.count > 1 and self.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = self.gpus[number % len(self.gpus)]
        if self.count > 1:
            threads = max(1, len(os.sched_getaffinity(0)) // self.count)
            environment.setdefault("OMP_NUM_THREADS", str(threads))
        return environment

    def _count_end(self, worker: SweepWorker) -> None:
        """A worker has ended: in good order, killed (another takes its place), or unable to
        work."""
        number, code = worker.number, worker.exit_code
        ended = sum(r["state"] in ("complete", "pruned", "fail") for r in self.rows())
        self.crashes = 0 if code == 0 or ended > self.ended else self.crashes + 1
        self.ended = ended
        if code == 2 or self.crashes >= CRASHES:
            raise StageFailed(
                f"sweep {self.sweep.name}: worker {number} ended: {last_line(self.log(number))}"
            )

    def stop(self) -> None:
        """End the workers that still run, after their checkpoints."""
        self.workers.stop(STOP_SECONDS)


def follow(driver: int) -> None:
    """In a worker: leave, after a checkpoint, when the process that started it is gone (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    if os.getppid() != driver:
        raise KeyboardInterrupt


def last_line(log: Path) -> str:
    """The last line of a log, shortened."""
    try:
        with open(log, "rb") as f:
            f.seek(max(log.stat().st_size - 2000, 0))
            lines = f.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip()[:100] for line in reversed(lines) if line.strip()), "")
