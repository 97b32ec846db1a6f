"""Training in several processes on this machine, one for each device, and perhaps on several
machines.

Each process is a fresh interpreter (a forked one could use neither CUDA nor OpenMP where this one
has) that makes the training again from the stage's context. This process waits, shows what the
first one reports, and
lets none outlive it: one that fails ends the others, and the same command goes on from the last
checkpoint.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import distributed as dist
from torch import multiprocessing

from bench.contracts.context import StageContext
from bench.contracts.tracker import Tracker
from bench.core.errors import BenchError, StageFailed
from bench.core.progress import Progress
from bench.core.relay import Pipe, Relay, Replay, Say, messages

if TYPE_CHECKING:
    from bench.stages.pretrain.setup import Setup

LIMIT = timedelta(minutes=10)  # a process that answers no exchange for so long fails the training
FINAL = "final.pt"


def train_on_ranks(ctx: StageContext, setup: Setup) -> dict[str, Any]:
    """Train in `setup.device.count` processes; leaves the network's state in `ctx.scratch / FINAL`
    and returns the summary.

    Raises what a process raised, StageFailed where one was killed, and KeyboardInterrupt, after a
    checkpoint, when asked to stop; asked twice, it stops at once.
    """
    context = multiprocessing.get_context("spawn")
    # Python's own note that a killed process left semaphores, which it has cleaned up when it says
    # so.
    sys.warnoptions.append("ignore:resource_tracker")
    stop = context.Event()
    with tempfile.TemporaryDirectory() as folder:
        job = _Job(
            replace(ctx, progress=Progress(), tracker=Tracker()),
            setup.device.count,
            f"{folder}/meet",
        )
        ranks = [_Rank(context, job, local, stop) for local in range(setup.device.count)]
        try:
            return _Watch(ctx, ranks, stop.set).until_done()
        finally:
            for rank in ranks:
                rank.end()


@dataclass(frozen=True)
class _Job:
    """What a process needs to begin. `meet`: a file through which those of one machine find each
    other."""

    ctx: StageContext
    devices: int
    meet: str


class _Rank:
    """One process and what it says."""

    def __init__(self, context: Any, job: _Job, local: int, stop: Any) -> None:
        self.local = local
        self.said, says = context.Pipe(duplex=False)
        self.process = context.Process(target=_main, args=(job, local, stop, says), daemon=False)
        self.process.start()
        says.close()
        self.error: BaseException | None = None

    def end(self) -> None:
        if self.process.is_alive():
            self.process.kill()
        self.process.join()
        self.said.close()


class _Watch:
    """Passes on what the first process reports and ends with the first failure."""

    def __init__(self, ctx: StageContext, ranks: list[_Rank], stop: Callable[[], None]) -> None:
        self.ctx, self.ranks, self.stop = ctx, ranks, stop
        self.summary: dict[str, Any] | None = None
        self.stopped = False
        self.replay = Replay(ctx.progress)

    def until_done(self) -> dict[str, Any]:
        asked = False
        while True:
            try:
                if self._look():
                    break
            except KeyboardInterrupt:
                if asked:
                    raise
                asked = True
                self.stop()  # the first process saves after its step; the others need not
        if self.stopped:
            raise KeyboardInterrupt
        if self.summary is None:
            raise self._failure()
        return self.summary

    def _look(self) -> bool:
        """Wait for news and hand it on; whether all is over."""
        open_pipes = [r.said for r in self.ranks if r.process.is_alive()]
        wait([*open_pipes, *(r.process.sentinel for r in self.ranks)], 1.0)
        # before their last messages are read
        ended = [r for r in self.ranks if not r.process.is_alive()]
        self._read()
        failed = [r for r in ended if r.process.exitcode != 0]
        if failed and not self.stopped:
            self._last_words(failed)
        return self.stopped or bool(failed) or len(ended) == len(self.ranks)

    def _read(self) -> None:
        for rank in self.ranks:
            for kind, *rest in messages(rank.said):
                self._hear(rank, kind, rest)

    def _hear(self, rank: _Rank, kind: str, rest: list[Any]) -> None:
        if self.replay.hear(kind, *rest):
            return
        if kind == "error":
            rank.error = pickle.loads(rest[0])
        elif kind == "log":
            self.ctx.tracker.log(*rest)
        elif kind == "image":
            self.ctx.tracker.image(*rest)
        elif kind == "stopped":
            self.stopped = True
        elif kind == "done" and rank.local == 0:
            self.summary = rest[0]

    def _last_words(self, failed: list[_Rank]) -> None:
        """One that is gone makes the others fail too: give them a moment, so that the cause can be
        told."""
        until = time.monotonic() + 3
        while time.monotonic() < until and any(r.process.is_alive() for r in self.ranks):
            wait([r.process.sentinel for r in self.ranks if r.process.is_alive()], 0.2)
            self._read()
        self._read()

    def _failure(self) -> BaseException:
        """Bad input first, then a process that was killed, then whatever else went wrong."""
        known = [r.error for r in self.ranks if isinstance(r.error, BenchError)]
        if known:
            return known[0]
        for rank in self.ranks:
            code = rank.process.exitcode
            if code is not None and code < 0:
                return StageFailed(
                    f"{self.ctx.stage}: the process of device {rank.local} was killed by signal "
                    f"{-code}; "
                    "the same command goes on from the last checkpoint"
                )
        return next(
            (r.error for r in self.ranks if r.error), StageFailed(f"{self.ctx.stage}: no result")
        )


def _main(job: _Job, local: int, stop: Any, says: Connection) -> None:
    """A process's whole life."""
    from bench.core.processes import die_with_parent

    die_with_parent()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the parent says when to stop
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    say = Pipe(says)
    try:
        summary = _train(job, local, stop, say if local == 0 else None)
        say("done", summary)
    except KeyboardInterrupt:
        say("stopped")
    except BaseException as error:
        say("error", _portable(error))
        os._exit(1)  # the others may never answer a farewell
    os._exit(0)


def _train(job: _Job, local: int, stop: Any, say: Say | None) -> dict[str, Any]:
    from bench.stages.pretrain.loop import train
    from bench.stages.pretrain.setup import build_method, prepare, step_threads

    ctx, runtime = job.ctx, job.ctx.runtime
    if say and runtime.node == 0:
        ctx = replace(ctx, progress=Relay(say), tracker=_SayTracker(say))
    setup = prepare(
        ctx, build_method(ctx.params["method"]), ctx.images("data", str(ctx.params["split"]))
    )
    torch.set_num_threads(step_threads(ctx, setup.device))
    os.environ["LOCAL_RANK"] = str(local)
    os.environ["NODE_RANK"] = str(runtime.node)
    _meet(job, setup.device.kind, local)
    network, summary = train(ctx, setup, stop.is_set)
    if local == 0 and runtime.node == 0:
        state = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
        torch.save(state, ctx.scratch / FINAL)
    return summary


def _meet(job: _Job, device: str, local: int) -> None:
    """Join the other processes: on one machine through a file and the loopback interface, on
    several at MASTER_ADDR and MASTER_PORT."""
    runtime = job.ctx.runtime
    if runtime.nodes == 1 and any(name == "lo" for _, name in socket.if_nameindex()):
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    if device == "cuda":
        torch.cuda.set_device(local)
    dist.init_process_group(
        "nccl" if device == "cuda" else "gloo",
        init_method=f"file://{job.meet}" if runtime.nodes == 1 else "env://",
        timeout=LIMIT,
        rank=runtime.node * job.devices + local,
        world_size=runtime.nodes * job.devices,
        device_id=torch.device("cuda", local) if device == "cuda" else None,
    )


def _portable(error: BaseException) -> bytes:
    """The error; one that is not ours with its traceback as text, since it may not survive the
    journey."""
    if isinstance(error, BenchError):
        return pickle.dumps(error)
    text = "".join(traceback.format_exception(error))
    return pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}\n{text}"))


class _SayTracker(Tracker):
    def __init__(self, say: Say) -> None:
        self.say = say

    def log(self, figures: dict[str, float], step: int) -> None:
        self.say("log", figures, step)

    def image(self, name: str, picture: np.ndarray, step: int | None = None) -> None:
        self.say("image", name, picture, step)


def load_final(scratch: Path) -> dict[str, torch.Tensor]:
    """The state that the first process left."""
    return torch.load(scratch / FINAL, map_location="cpu", weights_only=True)  # type: ignore[no-any-return]
