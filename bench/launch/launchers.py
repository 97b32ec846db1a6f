"""Launchers: what makes the stages of a plan, by name.

Another one is a `GraphEngine` (`bench.launch.graph`) and a line in `LAUNCHERS`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from bench.core.errors import BadInput, unknown
from bench.core.params import Runtime
from bench.core.progress import Progress
from bench.core.store import Store
from bench.launch.jobs import threads_of
from bench.launch.local import Listener, LocalEngine

LAUNCHERS = {
    "local": "bench.launch.launchers:local",
    "ray": "bench.launch.ray:launch",
    "slurm": "bench.launch.slurm.engine:launch",
}

Launch = Callable[[Runtime, Store, Listener, Progress], LocalEngine]


def launcher(name: str) -> Launch:
    """The maker of engines of that name, or an error with the nearest one."""
    if name not in LAUNCHERS:
        raise unknown("launcher", name, LAUNCHERS, "bench run --launcher local ...")
    module, _, function = LAUNCHERS[name].partition(":")
    try:
        launch: Launch = getattr(import_module(module), function)
    except ModuleNotFoundError as error:
        raise BadInput(
            f"--launcher {name} needs the package {error.name}; try: pip install "
            f"'ssl-crop-bench[{name}]'"
        ) from None
    return launch


def local(runtime: Runtime, store: Store, listener: Listener, progress: Progress) -> LocalEngine:
    """This machine: one stage after another in this process, or several in their own."""
    groups = gpu_groups(runtime)
    count = runtime.max_parallel or max(1, len(groups))
    if count == 1:
        return LocalEngine(runtime, store, listener, progress)
    if runtime.nodes > 1:
        raise BadInput(
            f"--nodes {runtime.nodes} trains one stage on all machines; try: --max-parallel 1, or "
            "no --nodes"
        )
    from bench.launch.parallel import ParallelEngine
    from bench.launch.workers import Slot

    threads = threads_of(runtime, len(os.sched_getaffinity(0)) // count)
    slots = [Slot(threads, groups[n % len(groups)] if groups else None) for n in range(count)]
    return ParallelEngine(runtime, store, listener, progress, slots=slots)


def gpu_groups(runtime: Runtime) -> list[str]:
    """What CUDA_VISIBLE_DEVICES is for each stage, `--devices` GPUs each; empty where one GPU is
    all."""
    if (
        str(runtime.devices) == "cpu"
        or runtime.nodes > 1
        or len(list(Path("/dev").glob("nvidia[0-9]*"))) < 2
    ):
        return []
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(n) for n in range(torch.cuda.device_count())]
    each = 1 if runtime.devices == "auto" else int(runtime.devices)
    return [",".join(names[n : n + each]) for n in range(0, len(names) - each + 1, each)]
