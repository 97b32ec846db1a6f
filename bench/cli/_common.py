"""What several verbs share: the runtime, the options of a cell, shell completion of names."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from bench.contracts.component import SCALES
from bench.core.errors import BadInput
from bench.results.db.place import database_url, home_folder

if TYPE_CHECKING:
    from bench.core.params import Runtime
    from bench.launch.local import LocalEngine
    from bench.plan.cell import Cell, Plan
    from bench.results.db.database import Database


def open_runtime(**given: Any) -> Runtime:
    """The Runtime of this process: `BENCH_HOME`, `BENCH_DB` (default SQLite in the home), options
    given."""
    from bench.core.params import Runtime

    home = home_folder()
    tracker = os.environ.get("BENCH_TRACKER", "wandb")
    if tracker not in ("wandb", "none"):
        raise BadInput(
            f"BENCH_TRACKER is wandb or none, got {tracker!r}; try: BENCH_TRACKER=none bench ..."
        )
    return Runtime(home=home, database=database_url(), tracker=tracker, **given)


class Names(click.ParamType):
    """A comma list of component names or globs of one kind, completed from the file tree."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.name = f"{kind}[,{kind}...]"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from bench.contracts import registry

        head, comma, tail = incomplete.rpartition(",")
        return [
            CompletionItem(f"{head}{comma}{name}", help=registry.entry(self.kind, name).summary)
            for name in registry.names(self.kind)
            if name.startswith(tail)
        ]


class ScaleName(click.ParamType):
    """A scale."""

    name = "scale"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return [CompletionItem(s) for s in SCALES if s.startswith(incomplete)]


def cell_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say which cells: shared by `run` and `plan`."""
    options = [
        click.option("--method", "-m", type=Names("method"), help="Names or globs."),
        click.option(
            "--crop", "-c", type=Names("crop"), help="Names or globs; whole images unless told."
        ),
        click.option(
            "--backbone",
            "-b",
            metavar="NAME|weights=FILE",
            help="The methods' network; or a checkpoint made elsewhere, and no method.",
        ),
        click.option("--task", "-t", type=Names("task"), required=True, help="Names or globs."),
    ]
    function = setting_options(function)
    for option in reversed(options):
        function = option(function)
    return function


def setting_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say at what scale, on what data, with what settings and devices."""
    options = [
        click.option("--scale", "-s", type=ScaleName(), default="tiny", show_default=True),
        click.option("--seeds", default="0", show_default=True, help="0 | 0,1 | 0-4"),
        click.option("--data", type=Names("data"), help="Pretraining data: NAME or NAME=PATH."),
        click.option(
            "--task-data", type=Names("data"), help="The task's data: NAME or NAME=PATH."
        ),
        click.option(
            "--engine",
            type=click.Choice(["torchvision", "detectron2", "auto"]),
            help="Detector library; auto: detectron2 where installed.",
        ),
        click.option(
            "--set", "sets", multiple=True, metavar="KEY=VALUE", help="Override a setting."
        ),
        click.option(
            "--precision", type=click.Choice(["fp32", "bf16"]), help="Of the method's pretraining."
        ),
    ]
    function = device_options(function)
    for option in reversed(options):
        function = option(function)
    return function


def device_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """--devices and --workers."""
    function = click.option(
        "--workers", default=2, show_default=True, type=click.IntRange(0, 256)
    )(function)
    return click.option(
        "--devices",
        default="auto",
        show_default=True,
        help="auto, cpu, or how many GPUs (or CPU processes).",
    )(function)


def make_cells(
    method: str | None,
    crop: str | None,
    task: str,
    scale: str,
    seeds: str,
    data: str | None,
    task_data: str | None,
    sets: tuple[str, ...],
    backbone: str | None = None,
    precision: str | None = None,
    engine: str | None = None,
) -> tuple[list[Cell], dict[str, Path | None]]:
    """Cells of the product of the options, and the data paths given; every name is checked here."""
    from bench.plan.cell import Cell
    from bench.plan.options import (
        check_scale,
        default_data,
        default_task_data,
        match,
        parse_data,
        parse_seeds,
    )

    check_scale(scale)
    data_name, data_path = parse_data(data)
    task_data_name, task_data_path = parse_data(task_data)
    weights, chosen = _backbone(backbone, method=method, crop=crop, data=data)
    if precision:
        sets = (*sets, f"method.precision={precision}")
    overrides = (*chosen, *settings(sets))
    if engine and any(key.rpartition(".")[2] == "engine" for key, _ in overrides):
        raise BadInput("--engine and --set ...engine= say the same twice; try: one of the two")
    if weights:
        pretrained = [(_label(weights), "-", "unknown")]
    else:
        names = match("method", method or ""), match("crop", crop or "image")
        pretrained = [(m, c, data_name or default_data(scale)) for m in names[0] for c in names[1]]
    cells = []
    for m, c, d in pretrained:
        for t in match("task", task):
            wanted = task_data_name or default_task_data(t, scale)
            cell = Cell(m, c, t, d, wanted, scale, 0, (*overrides, *_engine(t, engine)), weights)
            cells += [replace(cell, seed=s) for s in parse_seeds(seeds)]
    paths = _paths((data_name, data_path), (task_data_name, task_data_path))
    return cells, paths


def _backbone(given: str | None, **others: str | None) -> tuple[str, tuple[tuple[str, str], ...]]:
    """(the weights file or "", overrides) of --backbone; BadInput where `others` do not go with
    it."""
    kind, equals, path = (given or "").partition("=")
    if not equals:
        if not others["method"]:
            raise BadInput(
                "--method is missing; try: bench list methods, or --backbone weights=FILE"
            )
        if not kind:
            return "", ()
        from bench.nn.architectures import architecture

        architecture(kind)
        return "", (("method.backbone", kind),)
    if kind != "weights" or not path:
        raise BadInput(
            f"--backbone is NAME or weights=FILE, got {given!r}; try: --backbone resnet50"
        )
    for name, value in others.items():
        if value:
            raise BadInput(
                f"--{name} says how to pretrain, but --backbone weights=FILE pretrains nothing; "
                "try: without "
                f"--{name}"
            )
    return str(Path(path).expanduser().absolute()), ()


def _engine(task: str, given: str | None) -> tuple[tuple[str, str], ...]:
    """The override that --engine is for a task; what `auto` means is decided here."""
    from bench.contracts import registry

    picked = registry.load("task", task).pick_engine(given) if given else None  # type: ignore[attr-defined]
    return ((f"{task}.engine", picked),) if picked else ()


def _label(weights: str) -> str:
    from bench.stages.weights import label

    return label(weights)


def _paths(*given: tuple[str | None, Path | None]) -> dict[str, Path | None]:
    paths: dict[str, Path | None] = {}
    for name, path in given:
        if name and path and paths.get(name, path) != path:
            raise BadInput(
                f"--data and --task-data name {name!r} at two places, {paths[name]} and {path}; "
                "try: the same path for both"
            )
        if name and path:
            paths[name] = path
    return paths


def settings(sets: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """The (key, value) pairs of --set options."""
    return tuple(_setting(text) for text in sets)


def _setting(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise BadInput(f"--set takes KEY=VALUE, got {text!r}; try: --set orl.epochs=2")
    return key.strip(), value.strip()


def plan_from_options(runtime: Runtime, **options: Any) -> Plan:
    """The validated plan of the cell options."""
    from bench.plan.planner import make_plan

    cells, paths = make_cells(**options)
    return make_plan(cells, runtime, paths)


def devices_option(text: str) -> int | str:
    """`auto`, `cpu` or a positive number."""
    if text in ("auto", "cpu"):
        return text
    if text.isdigit() and int(text) > 0:
        return int(text)
    raise BadInput(
        f"--devices is auto, cpu or a number of GPUs, got {text!r}; try: --devices auto"
    )


def print_json(value: Any) -> None:
    """JSON on stdout."""
    click.echo(json.dumps(value, indent=1, allow_nan=False))


def engine_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say what makes the stages; they are fields of the runtime."""
    options = [
        click.option(
            "--launcher",
            default="local",
            show_default=True,
            shell_complete=_launchers,
            callback=_launcher,
            help="local: this machine; ray: a Ray cluster.",
        ),
        click.option(
            "--max-parallel",
            default=0,
            type=click.IntRange(0, 4096),
            help="Stages at the same time; 0: one for each GPU (or --devices of them), one without GPUs.",
        ),
        click.option(
            "--ray-address",
            default="",
            envvar="RAY_ADDRESS",
            metavar="auto|HOST:PORT",
            help="A running Ray cluster; without one, Ray is started here, on 127.0.0.1.",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def _launcher(ctx: click.Context, param: click.Parameter, name: str) -> str:
    from bench.launch.launchers import launcher

    launcher(name)
    return name


def _launchers(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from bench.launch.launchers import LAUNCHERS

    return [name for name in LAUNCHERS if name.startswith(incomplete)]


class local_engine:
    """The engine that the runtime names, which reports to the results database. While it is open
    SIGTERM and SIGUSR1 are Ctrl-C: what is running is saved, and the same command goes on."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    def __enter__(self) -> tuple[LocalEngine, Database]:
        from bench.cli._progress import terminal_progress
        from bench.core.signals import listen_for_stop
        from bench.core.store import Store
        from bench.launch.launchers import launcher
        from bench.results.db.database import open_database
        from bench.results.db.listener import DatabaseListener

        make = launcher(self.runtime.launcher)
        store = Store(self.runtime.home)
        database = open_database(self.runtime.database)
        self.context = ExitStack()
        self.context.enter_context(listen_for_stop(at_once=True))
        progress = self.context.enter_context(terminal_progress())
        return make(self.runtime, store, DatabaseListener(database), progress), database

    def __exit__(self, *error: Any) -> None:
        self.context.__exit__(*error)
