"""A plan's stages as tasks of a Ray cluster.

Each stage is one task, with its inputs' reports as arguments: Ray starts it when they are there,
where there is room for it, and again, elsewhere, when its worker or machine is lost; it then goes
on from the checkpoint in the store, which every machine sees at the same path.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, TaskCancelledError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from bench.core.errors import BadInput, StageFailed
from bench.core.params import Runtime
from bench.core.progress import Progress
from bench.core.relay import Message, Relay, Replay
from bench.core.signals import listen_for_stop
from bench.core.stage import Stage
from bench.core.store import Store
from bench.launch.graph import ON_CPU, GraphEngine, by_depth
from bench.launch.jobs import Job, Report, limit_threads, make, threads_of
from bench.launch.local import Listener
from bench.launch.memory import expected_mib
from bench.launch.ray_cluster import LOCALHOST, connect

RETRIES = 3  # of a stage whose worker or machine was lost
LOOK_SECONDS = 0.5


class Preempted(Exception):
    """A worker was asked to stop and has saved."""


def launch(runtime: Runtime, store: Store, listener: Listener, progress: Progress) -> RayEngine:
    """The engine of `--launcher ray`."""
    if runtime.nodes > 1:
        raise BadInput(
            f"--nodes {runtime.nodes} goes with --launcher local only; try: without --nodes"
        )
    return RayEngine(runtime, store, listener, progress)


class Box:
    """Where workers put their messages, each worker's in order, until the first process takes
    them."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def put(self, message: Message) -> None:
        self.messages.append(message)

    def take(self) -> list[Message]:
        taken, self.messages = self.messages, []
        return taken


@dataclass(frozen=True)
class Share:
    """What a stage asks a machine for."""

    cpus: int
    gpus: int
    memory_mib: int  # the most that a machine has


@dataclass
class RayEngine(GraphEngine):
    """Ray runs the stages; this process keeps the record."""

    replays: dict[str, Replay] = field(default_factory=dict)
    box: Any = None

    @contextmanager
    def open_resources(self) -> Iterator[None]:
        """Connected to the cluster, or to a Ray of our own that listens on 127.0.0.1 alone."""
        with connect(self.runtime.ray_address):
            if not self.runtime.ray_address:
                self._say_where()
            self.share = share(self.runtime, [n["Resources"] for n in ray.nodes() if n["Alive"]])
            here = NodeAffinitySchedulingStrategy(
                ray.get_runtime_context().get_node_id(), soft=True
            )
            self.box = ray.remote(Box).options(num_cpus=0, scheduling_strategy=here).remote()
            self.marker = self.store.home / "locks" / f"ray-{socket.gethostname()}-{os.getpid()}"
            self.marker.touch()
            try:
                yield
            finally:
                self.marker.unlink(missing_ok=True)
                ray.kill(self.box)

    def _say_where(self) -> None:
        """A note where our Ray listens elsewhere than on 127.0.0.1, as another version may."""
        here = ray.util.get_node_ip_address()
        if here != LOCALHOST:
            self.progress.note(
                f"Ray's servers listen on {here}, where other machines may reach them; a cluster "
                "of your own is named with --ray-address"
            )

    def reports(self, wanted: Mapping[str, Stage]) -> Iterator[Report]:
        self.needs = expected_mib(self.store, wanted.values())
        refs: dict[str, Any] = {}
        pending: dict[Any, str] = {}
        left = [key for key in by_depth(wanted)]
        limit = self.runtime.max_parallel or len(wanted)
        cancelled = False
        try:
            while True:
                while left and len(pending) < limit and not self.stop.asked:
                    key = left.pop(0)
                    if self.is_useful(key):
                        refs[key] = self._submit(wanted[key], refs)
                        pending[refs[key]] = key
                if not pending:
                    return
                done, _ = ray.wait(list(pending), timeout=LOOK_SECONDS)
                self._read_box()
                for ref in done:
                    report = self._report(ref, wanted[pending.pop(ref)])
                    if not report.stopped and report.key not in self.outcome.errors:
                        yield report
                if self.stop.asked and not cancelled:
                    cancelled = True
                    self.progress.note("running stages save what they have, then all ends")
                    _cancel(pending)
        finally:
            _cancel(pending, force=True)

    def _submit(self, stage: Stage, refs: Mapping[str, Any]) -> Any:
        share = self.share
        threads = threads_of(self.runtime, share.cpus)
        job = self.job(stage, self.runtime.model_copy(update={"threads": threads}))
        inputs = [refs[child.key] for child in stage.inputs.values() if child.key in refs]
        options = {
            "name": str(stage),
            "num_cpus": share.cpus,
            "num_gpus": 0 if stage.kind in ON_CPU else share.gpus,
            "memory": min(self.needs[stage.key], share.memory_mib) << 20,
            "max_retries": RETRIES,
            "retry_exceptions": [Preempted],
        }
        return (
            ray.remote(task)
            .options(**options)
            .remote(job, threads, self.box, self.marker, *inputs)
        )

    def _read_box(self) -> None:
        """Show what the workers have sent since."""
        with suppress(RayError):
            for key, kind, *rest in ray.get(self.box.take.remote()):
                if kind == "begun":
                    self._begun(key)
                elif key in self.replays:
                    self.replays[key].show(kind, *rest)

    def _begun(self, key: str) -> None:
        stage = self.wanted[key]
        if key in self.replays:
            self.replays.pop(key).end()
            self.progress.note(f"{stage}: its process was lost; it goes on in another")
        self.replays[key] = Replay(self.progress, stage.short[:6])
        self.note_begun(key)

    def _report(self, ref: Any, stage: Stage) -> Report:
        if stage.key in self.replays:
            self.replays.pop(stage.key).end()
        try:
            report: Report = ray.get(ref)
            return report
        except TaskCancelledError:
            return Report(stage.key, stopped=True)
        except (RayError, Preempted) as error:
            text = " ".join(str(error).split())[-300:]
            return Report(
                stage.key,
                error=StageFailed(
                    f"{stage}: Ray could not finish it ({type(error).__name__}: {text}); the same "
                    "command goes on"
                ),
            )


def task(job: Job, threads: int, box: Any, marker: Path, *inputs: Report) -> Report:
    """One stage, in a Ray worker. Raises Preempted, so that Ray runs it again, where the worker
    was asked to stop."""
    for report in inputs:
        if report.error:
            return Report(job.stage.key, error=report.error)
    if not marker.exists():
        return Report(
            job.stage.key,
            error=BadInput(
                f"machine {socket.gethostname()} does not see BENCH_HOME {job.runtime.home} of "
                "the command that started this; try: a folder on a shared filesystem"
            ),
        )
    limit_threads(threads)

    def send(*message: Any) -> None:
        with suppress(RayError):
            box.put.remote((job.stage.key, *message))

    send("begun")
    report = Report(job.stage.key, stopped=True)
    with suppress(KeyboardInterrupt), listen_for_stop(at_once=True):
        report = make(job, Relay(send))
    if report.stopped:
        raise Preempted(f"{job.stage} was asked to stop")
    return report


def share(runtime: Runtime, machines: list[dict[str, float]]) -> Share:
    """A stage's share of machines with these resources: `--devices` GPUs; of the CPUs what is left
    where `--max-parallel` stages run at once, by default one for each GPU, without GPUs one for
    each machine."""
    cpus = [m.get("CPU", 0.0) for m in machines]
    gpus = [m.get("GPU", 0.0) for m in machines]
    each = 1 if isinstance(runtime.devices, str) else runtime.devices
    if str(runtime.devices) == "cpu" or not sum(gpus):
        each_gpu, at_once = 0, len(machines)
    elif each > max(gpus):
        raise BadInput(
            f"--devices {each}: no machine of the Ray cluster has more than {max(gpus):g} GPUs; "
            "try: --devices auto"
        )
    else:
        each_gpu, at_once = each, int(sum(n // each for n in gpus))
    wanted = runtime.threads * each or int(sum(cpus) / (runtime.max_parallel or at_once))
    memory = max(m.get("memory", 0.0) for m in machines)
    return Share(max(1, min(wanted, int(max(cpus)))), each_gpu, int(memory) >> 20)


def _cancel(pending: Mapping[Any, str], force: bool = False) -> None:
    for ref in pending:
        with suppress(RayError, ValueError):
            ray.cancel(ref, force=force)
