"""What a user asks for, from Python values or from the options of a command: which cells, and how
they are made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypedDict

from bench.core.params import PROBES, format_setting
from bench.core.progress import Progress

if TYPE_CHECKING:
    from bench.core.params import Runtime
    from bench.plan.cell import Plan

Names = str | Iterable[str]  # "byol,moco*", "all", or a list of such
Seeds = int | str | Iterable[int]  # 0, "0-4", or numbers
KINDS = ("method", "crop", "task")


class TrackingOptions(TypedDict, total=False):
    """What shows learning curves, pictures and tables; no result depends on it.

    tracker: "wandb", "tensorboard" or "none" (the default is BENCH_TRACKER). wandb_project,
    wandb_entity, wandb_tags, wandb_notes: of every tracked run. wandb_system: record the machine,
    its load and the git commit with every W&B run.
    """

    tracker: str | None
    wandb_project: str
    wandb_entity: str
    wandb_tags: tuple[str, ...]
    wandb_notes: str
    wandb_system: bool


class RuntimeOptions(TrackingOptions, total=False):
    """How stages are made, with the options of `TrackingOptions`; no result depends on it.

    devices: "auto", "cpu" or a number of GPUs. workers: processes that load images for each
    device. threads: PyTorch threads of a training step (0: the cores that are free). accumulate:
    parts that a step is computed in, to save memory. compile: `torch.compile` the networks.
    launcher: "local", "ray" or "slurm". max_parallel: stages at the same time (0: one for each
    GPU). ray_address: a Ray cluster that runs already. slurm: what jobs ask Slurm for, such as
    "partition=gpu,time=4:00:00,gpus=1". nodes: machines that train together. probe: what is
    measured of a backbone in training, of "knn", "linear", "object_knn" and "object_linear"; its
    effective rank and spread come with them.
    """

    devices: int | str
    workers: int
    threads: int
    nodes: int
    accumulate: int
    compile: bool
    launcher: str
    max_parallel: int
    ray_address: str
    probe: tuple[str, ...]
    slurm: str


@dataclass(frozen=True)
class Request:
    """Which cells: the product of methods, crops, tasks and seeds, as commands spell it
    (`bench.plan.product.make_cells`)."""

    method: str | None
    crop: str | None
    task: str
    scale: str = "tiny"
    seeds: str = "0"
    data: str | None = None
    task_data: str | None = None
    sets: tuple[str, ...] = ()
    backbone: str | None = None
    precision: str | None = None
    engine: str | None = None

    def plan(self, runtime: Runtime, absent: dict[str, str] | None = None) -> Plan:
        """The validated plan; BadInput where a name or a value breaks a rule. absent: gets the
        data sets that are not on this machine (`bench.plan.planner.make_plan`)."""
        from bench.core.errors import BadInput
        from bench.plan.product import plan_product

        if not self.task.strip(", "):
            raise BadInput("a task is missing; try: bench list tasks")
        options = asdict(self)
        for kind in KINDS:
            options[kind] = widen(options[kind])
        return plan_product(runtime, absent, **options)


def widen(names: str | None) -> str | None:
    """The glob that stands for every component where the names are `all`."""
    return "*" if names == "all" else names


def join_names(names: Names | None) -> str | None:
    """`byol,orl` of a list of names; a text stays as it is."""
    return names if names is None or isinstance(names, str) else ",".join(names)


def join_seeds(seeds: Seeds) -> str:
    """`0,1,2` of numbers; a text stays as it is."""
    if isinstance(seeds, (int, str)):
        return str(seeds)
    return ",".join(map(str, seeds))


def join_settings(settings: Mapping[str, Any] | None) -> tuple[str, ...]:
    """The KEY=VALUE texts of --set."""
    return tuple(f"{key}={format_setting(value)}" for key, value in (settings or {}).items())


def make_runtime(options: RuntimeOptions, force: bool = False) -> Runtime:
    """The runtime of this process with these options; BadInput for an option or a value that there
    is not."""
    from pydantic import ValidationError

    from bench.core.errors import BadInput, brief, unknown
    from bench.launch.session import node_number, open_runtime

    for name in options:
        if name not in RuntimeOptions.__annotations__:
            known = RuntimeOptions.__annotations__
            raise unknown("option", name, known, "help(bench.run)")
    devices = options.get("devices", "auto")
    if devices not in ("auto", "cpu") and not (isinstance(devices, int) and devices > 0):
        raise BadInput(
            f"devices is 'auto', 'cpu' or a number of GPUs, got {brief(devices)}; try: "
            "devices='auto'"
        )
    for name in options.get("probe", ()):
        if name not in PROBES:
            raise unknown("probe", name, PROBES, "bench run --probe object_knn ...")
    try:
        return open_runtime(**options, force=force, node=node_number(options.get("nodes", 1)))
    except ValidationError as error:
        first = error.errors()[0]
        raise BadInput(
            f"{first['loc'][0]}: {first['msg'].lower()}, got {brief(first['input'])}; try: "
            "help(bench.run)"
        ) from None


def open_progress(progress: bool | Progress) -> AbstractContextManager[Progress]:
    """True: bars in a terminal or a notebook, lines elsewhere; False: nothing; or one's own."""
    if isinstance(progress, Progress):
        return nullcontext(progress)
    if not progress:
        return nullcontext(Progress())
    from bench.api.progress import terminal_progress

    return terminal_progress()
