"""Training in several processes on this machine, one for each device, and perhaps on several
machines.

Each process is a fresh interpreter (a forked one could use neither CUDA nor OpenMP where this one
has) that makes the training again from the stage's context. This process waits, shows what the
first one reports, and ends all of them when one fails; the same command goes on from the last
checkpoint.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch import distributed as dist

from bench.contracts.context import StageContext
from bench.contracts.tracker import Tracker
from bench.core.errors import BenchError, StageFailed
from bench.core.progress import Progress
from bench.core.relay import Message, Relay, Replay, Send
from bench.core.signals import accept_stop
from bench.core.supervisor import Child, Supervisor

if TYPE_CHECKING:
    from bench.stages.pretrain.setup import Setup, Summary

LIMIT = timedelta(minutes=10)  # a process that answers no exchange for so long fails the training
CAUSE_SECONDS = 3.0  # for the error that was the cause of others to arrive
FINAL = "final.pt"


def train_on_ranks(ctx: StageContext, setup: Setup) -> Summary:
    """Train in `setup.device.count` processes; leaves the network's state in `ctx.scratch / FINAL`
    and returns the summary.

    Raises what a process raised, StageFailed where one was killed, and KeyboardInterrupt, after a
    checkpoint, when asked to stop; asked twice, it stops at once.
    """
    ranks = Ranks(ctx)
    stop = ranks.context.Event()
    with tempfile.TemporaryDirectory() as folder:
        job = _Job(
            replace(ctx, progress=Progress(), tracker=Tracker()),
            setup.device.count,
            f"{folder}/meet",
        )
        try:
            for local in range(setup.device.count):
                ranks.start(Rank(local), _train_rank, job, local, stop)
            return ranks.finish(stop.set)
        finally:
            ranks.kill()


@dataclass(frozen=True)
class _Job:
    """What a process needs to begin. `meet`: a file through which those of one machine find each
    other."""

    ctx: StageContext
    devices: int
    meet: str


@dataclass(eq=False)
class Rank(Child):
    """The process of one of this machine's devices, and the error that it sent."""

    local: int
    error: BaseException | None = None


class Ranks(Supervisor[Rank]):
    """The processes of one training: passes on what the first reports, ends when one fails."""

    def __init__(self, ctx: StageContext) -> None:
        super().__init__("spawn")
        self.ctx, self.replay = ctx, Replay(ctx.progress)
        self.all: list[Rank] = []
        self.summary: Summary | None = None
        self.stopped = False

    def finish(self, ask_to_stop: Callable[[], None]) -> Summary:
        """Wait until the training is over; on Ctrl-C, ask the first process to save and stop."""
        self.all = list(self.running)
        asked = False
        while self.running and not self.stopped and not self._failed():
            try:
                self.wait(1.0, self._receive)
            except KeyboardInterrupt:
                if asked:
                    raise
                asked = True
                ask_to_stop()  # the first process saves after its step; the others need not
        if self._failed() and not self.stopped:
            self._await_cause()
        if self.stopped:
            raise KeyboardInterrupt
        if self.summary is None:
            raise self._cause()
        return self.summary

    def _failed(self) -> bool:
        return any(rank.exit_code for rank in self.all if rank not in self.running)

    def _receive(self, rank: Rank, message: Message) -> None:
        kind, *rest = message
        if self.replay.show(kind, *rest):
            return
        if kind == "error":
            rank.error = pickle.loads(rest[0])
        elif kind == "log":
            self.ctx.tracker.log(*rest)
        elif kind == "image":
            self.ctx.tracker.image(*rest)
        elif kind == "table":
            self.ctx.tracker.table(*rest)
        elif kind == "stopped":
            self.stopped = True
        elif kind == "done" and rank.local == 0:
            self.summary = rest[0]

    def _await_cause(self) -> None:
        """When a process has gone, the others fail too: wait a moment for the errors of all, so
        that the cause is among them."""
        until = time.monotonic() + CAUSE_SECONDS
        while self.running and time.monotonic() < until:
            self.wait(0.2, self._receive)

    def _cause(self) -> BaseException:
        """Bad input first, then a process that was killed, then whatever else went wrong."""
        errors = [rank.error for rank in self.all if rank.error]
        known = [error for error in errors if isinstance(error, BenchError)]
        if known:
            return known[0]
        for rank in self.all:
            code = rank.exit_code or 0
            if code < 0:
                return StageFailed(
                    f"{self.ctx.stage}: the process of device {rank.local} was killed by signal "
                    f"{-code}; the same command goes on from the last checkpoint"
                )
        return errors[0] if errors else StageFailed(f"{self.ctx.stage}: no result")


def _train_rank(send: Send, job: _Job, local: int, stop: Any) -> None:
    """What a process does."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the parent says when to stop
    accept_stop()
    try:
        summary = _train(job, local, stop, send if local == 0 else None)
        send("done", summary)
    except KeyboardInterrupt:
        send("stopped")
    except BaseException as error:
        send("error", _portable(error))
        os._exit(1)  # without leaving the process group: the others may never answer


def _train(job: _Job, local: int, stop: Any, send: Send | None) -> Summary:
    """`send`: of the first process of this machine."""
    from bench.stages.pretrain.loop import train
    from bench.stages.pretrain.setup import build_method, prepare, step_threads

    ctx, runtime = job.ctx, job.ctx.runtime
    if send and runtime.node == 0:
        ctx = replace(ctx, progress=Relay(send), tracker=_RelayTracker(send))
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
    """The error, pickled; one that is not ours as a RuntimeError with the traceback in its text,
    since others cannot always be pickled."""
    if isinstance(error, BenchError):
        return pickle.dumps(error)
    text = "".join(traceback.format_exception(error))
    return pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}\n{text}"))


class _RelayTracker(Tracker):
    def __init__(self, send: Send) -> None:
        self.send = send

    def log(self, figures: dict[str, float], step: int) -> None:
        self.send("log", figures, step)

    def image(self, name: str, picture: np.ndarray, step: int | None = None) -> None:
        self.send("image", name, picture, step)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        self.send("table", name, columns, rows)


def load_final(scratch: Path) -> dict[str, Tensor]:
    """The state that the first process left."""
    return torch.load(scratch / FINAL, map_location="cpu", weights_only=True)  # type: ignore[no-any-return]
