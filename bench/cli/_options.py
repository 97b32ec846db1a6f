"""The options that several verbs share: defined once, so that a name means the same everywhere.

An option here is a function that makes the decorator: `@METHOD(required=True)` changes what a verb
needs changed, as a rule the default and whether the option is required.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import click
from click.shell_completion import CompletionItem

from bench.cli._complete import Setting
from bench.contracts.component import SCALES
from bench.core.errors import BadInput

Decorated = TypeVar("Decorated", bound=Callable[..., Any] | click.Command)


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
        ] + [CompletionItem(f"{head}{comma}{name}") for name in self._named(tail)]

    def _named(self, start: str) -> list[str]:
        """The data sets that the user named."""
        if self.kind != "data":
            return []
        from bench.plan.named import named_names

        return [name for name in named_names() if name.startswith(start)]


class Choices(click.ParamType):
    """One of some words, completed; the verb checks it, with an error that names the nearest."""

    def __init__(self, name: str, words: Callable[[], list[str]]) -> None:
        self.name = name
        self.words = words

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return [CompletionItem(word) for word in self.words() if word.startswith(incomplete)]


class Devices(click.ParamType):
    """`auto`, `cpu` or a positive number."""

    name = "auto|cpu|number"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | str:
        text = str(value)
        if text in ("auto", "cpu"):
            return text
        if text.isdigit() and int(text) > 0:
            return int(text)
        raise BadInput(
            f"--devices is auto, cpu or a number of GPUs, got {text!r}; try: --devices auto"
        )


class Decorator(Protocol):
    """Adds an option to a command."""

    def __call__(self, function: Decorated, /) -> Decorated: ...


def shared(*names: str, **fixed: Any) -> Callable[..., Decorator]:
    """The maker of an option that several verbs have, by click's arguments."""

    def make(**changes: Any) -> Decorator:
        return click.option(*names, **{**fixed, **changes})

    return make


def add_options(*options: Decorator) -> Decorator:
    """One decorator that adds all of these, in this order."""

    def decorate(function: Decorated, /) -> Decorated:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def say_left_out(line: str) -> None:
    """The note of `bench.plan.options.match` in a command: a line on stderr."""
    click.echo(f"bench: {line}", err=True)


def _launchers() -> list[str]:
    from bench.launch.launchers import LAUNCHERS

    return list(LAUNCHERS)


def _check_launcher(ctx: click.Context, param: click.Parameter, name: str) -> str:
    from bench.launch.launchers import launcher

    launcher(name)
    return name


def _split_names(ctx: click.Context, param: click.Parameter, text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def _join_slurm(ctx: click.Context, param: click.Parameter, texts: tuple[str, ...]) -> str:
    """The texts as one, checked."""
    text = ",".join(texts)
    if text:
        from bench.launch.slurm.request import parse

        parse(text)
    return text


CROP_HELP = "Crop strategies, as names or globs separated by commas, for example gt,obj_*."
METHOD = shared(
    "--method",
    "-m",
    type=Names("method"),
    help="Methods, as names or globs separated by commas, for example byol,moco*.",
)
CROP = shared(
    "--crop",
    "-c",
    type=Names("crop"),
    help=CROP_HELP,
)
TASK = shared(
    "--task",
    "-t",
    type=Names("task"),
    help="Tasks, as names or globs separated by commas, for example coco_det,voc07_*.",
)
PROPOSALS = shared(
    "--proposals",
    "-p",
    type=Names("proposals"),
    default="all",
    show_default=True,
    help="Proposal generators, as names or globs separated by commas, for example bing,edge*.",
)
BACKBONE = shared(
    "--backbone",
    "-b",
    metavar="NAME|weights=FILE|timm:NAME",
    help="Network that the methods train, for example resnet50; or, without --method, a "
    "checkpoint that was made elsewhere: weights=moco.pth, a folder of Hugging Face's "
    "(weights=FOLDER), timm's own weights on this machine (timm:convnext_tiny), or a file for a "
    "network that is named (timm:convnext_tiny=FILE). ,name=NAME says what boards call it.",
)
SCALE = shared(
    "--scale",
    "-s",
    type=Choices("scale", lambda: list(SCALES)),
    default="tiny",
    show_default=True,
    help="How large everything is: tiny (minutes, generated scenes), small (about an hour on a "
    "GPU) or paper (the papers' settings).",
)
SEEDS = shared(
    "--seeds", default="0", show_default=True, help="Seeds to run, for example 0,1 or 0-4."
)
PRETRAIN_DATA = shared(
    "--data",
    type=Names("data"),
    metavar="NAME[=PATH]",
    help="Data to pretrain on, for example coco=/data/coco. coco=PATH,name=NAME says what boards "
    "call it. The scale sets the default.",
)
TASK_DATA = shared(
    "--task-data",
    type=Names("data"),
    metavar="NAME[=PATH]",
    help="Data that the task trains and scores on, for example voc2007=/data/VOC2007. The task "
    "and the scale set the default.",
)
IMAGES_DATA = shared(
    "--data",
    type=Names("data"),
    metavar="NAME[=PATH]",
    default="scenes",
    show_default=True,
    help="Data whose images are used, for example coco=/data/coco.",
)
SPLIT = shared(
    "--split",
    default="train",
    show_default=True,
    help="Split of the data whose images are used, for example train or val.",
)
ENGINE = shared(
    "--engine",
    type=click.Choice(["torchvision", "detectron2", "auto"]),
    help="Library that trains detectors; auto is detectron2 where it is installed.",
)
SET = shared(
    "--set",
    "sets",
    multiple=True,
    type=Setting(),
    metavar="KEY=VALUE",
    help="Change a setting, for example --set byol.epochs=2; may be repeated. See bench list "
    "params NAME.",
)
PRECISION = shared(
    "--precision",
    type=click.Choice(["fp32", "bf16"]),
    help="Number format to pretrain in; bf16 is mixed precision. The method and the scale set the "
    "default.",
)
DEVICES = shared(
    "--devices",
    type=Devices(),
    default="auto",
    show_default=True,
    help="What to compute on: auto, cpu, or a number of GPUs (without any, of CPU processes).",
)
WORKERS = shared(
    "--workers",
    default=2,
    show_default=True,
    type=click.IntRange(0, 256),
    help="Processes that load images for each device, or make proposals.",
)
LAUNCHER = shared(
    "--launcher",
    type=Choices("launcher", _launchers),
    default="local",
    show_default=True,
    callback=_check_launcher,
    help="Where stages are made: local is this machine, ray is a Ray cluster, slurm is a Slurm "
    "cluster.",
)
MAX_PARALLEL = shared(
    "--max-parallel",
    default=0,
    type=click.IntRange(0, 4096),
    help="Stages to make at the same time. The default, 0, is one for each GPU (or for each "
    "group of --devices GPUs), and one without GPUs.",
)
RAY_ADDRESS = shared(
    "--ray-address",
    default="",
    envvar="RAY_ADDRESS",
    metavar="auto|HOST:PORT",
    help="A Ray cluster that runs already. Without one, Ray is started on this machine.",
)
PROBE = shared(
    "--probe",
    metavar="NAME[,NAME...]",
    callback=_split_names,
    help="What to measure of the backbone while it trains, for its learning curve: knn, linear, "
    "object_knn or object_linear. No result changes.",
)
SLURM = shared(
    "--slurm",
    multiple=True,
    metavar="KEY=VALUE,...",
    callback=_join_slurm,
    help="What jobs ask Slurm for, for example partition=gpu,time=4:00:00,gpus=1; may be "
    "repeated. cpu.KEY=VALUE is for stages that use no GPU.",
)
JSON = shared(
    "--json", "as_json", is_flag=True, help="Print everything as JSON instead of as text."
)

DRY_RUN = shared(
    "--dry-run",
    is_flag=True,
    help="Print the commands of the cells, and run nothing.",
)

device_options = add_options(DEVICES(), WORKERS())
setting_options = add_options(
    SCALE(), SEEDS(), PRETRAIN_DATA(), TASK_DATA(), ENGINE(), SET(), PRECISION(), device_options
)
cell_options = add_options(
    METHOD(),
    CROP(help=f"{CROP_HELP} The default is image, the whole image."),
    BACKBONE(),
    TASK(required=True),
    setting_options,
)
launcher_options = add_options(LAUNCHER(), MAX_PARALLEL(), RAY_ADDRESS(), SLURM())
