"""bench figure: the papers' figures and pictures, as files for a paper."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli._engine import open_engine
from bench.cli._options import (
    CROP,
    JSON,
    METHOD,
    SCALE,
    SET,
    TASK,
    Choices,
    Names,
    add_options,
    device_options,
)
from bench.cli._table import echo_prose, print_json
from bench.core.errors import BadInput
from bench.launch.session import open_runtime

if TYPE_CHECKING:
    from types import ModuleType

    from bench.core.params import Runtime
    from bench.core.stage import Stage
    from bench.figures._content import Content
    from bench.launch.local import LocalEngine

LIST = "list"
# parameter -> the name of its option, where that is another
OPTION_NAMES = {"backbones": "backbone", "images": "image", "sets": "set"}


def _figure_names() -> list[str]:
    from bench import figures

    return [LIST, *figures.names()]


_content_options = add_options(
    click.option(
        "--backbone",
        "-b",
        "backbones",
        multiple=True,
        metavar="KEY",
        help="Backbone to look at: the beginning of the key of its stage; may be repeated. The "
        "default is the newest.",
    ),
    click.option(
        "--cell",
        metavar="KEY",
        help="Result to draw: the beginning of its key. The default is the newest.",
    ),
    click.option(
        "--image",
        "-i",
        "images",
        multiple=True,
        metavar="ID|FILE",
        help="Image to show: an id of the data, or a file; may be repeated.",
    ),
    click.option(
        "--data",
        type=Names("data"),
        metavar="NAME[=PATH]",
        help="Data whose images, or whose results, are drawn, for example coco=/data/coco.",
    ),
    click.option("--split", help="Split of the data whose images are shown, for example val."),
    click.option(
        "--count",
        type=click.IntRange(1, 64),
        help="Number of images to show. The default is 4.",
    ),
    click.option(
        "--side",
        type=click.IntRange(32, 2048),
        help="Short side in pixels of the images that networks are given.",
    ),
    CROP(),
    SCALE(default=None, help="Scale of the settings, or of the results: tiny, small or paper."),
    SET(),
    METHOD(),
    TASK(help="Task whose results are drawn, for example voc07_svm."),
    click.option(
        "--metric",
        help="Metric of the task, for example AP50. The default is its headline metric.",
    ),
    click.option(
        "--source",
        type=click.Choice(["measured", "reported", "both"]),
        help="Draw what was measured here, what papers reported, or both.",
    ),
    click.option(
        "--size",
        type=click.Choice(["steps", "time", "none"]),
        help="What the size of a point stands for: training steps, training time, or nothing.",
    ),
    click.option(
        "--objects",
        type=click.Choice(["boxes", "masks"]),
        help="What counts as the pixels of an object.",
    ),
)


@click.command()
@click.argument("name", type=Choices("name", _figure_names))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="File to write, whose ending is .png, .svg or .pdf.",
)
@_content_options
@device_options
@JSON(help="Print the list of figures as JSON.")
def command(
    name: str,
    out: Path | None,
    devices: int | str,
    workers: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Draw figure NAME into a file. bench figure list shows the figures and their options.

    Pictures that need networks are made from what the store holds and kept there, and the
    dashboard shows them; the same command again only draws. For example:

    \b
    bench figure attention --image dog.jpg --out attention.png
    """
    from bench import figures

    if name == LIST:
        return _list(as_json)
    module = figures.figure(name)
    options = {k: v for k, v in options.items() if v not in (None, (), "")}
    for parameter in options:
        option = OPTION_NAMES.get(parameter, parameter)
        if option not in module.OPTIONS:
            takes = ", ".join(f"--{o}" for o in module.OPTIONS)
            raise BadInput(f"{name} does not take --{option}; it takes {takes}")
    if out is None:
        raise BadInput(f"--out is missing; try: bench figure {name} --out {name}.png")
    from bench.figures._look import file_type, write

    file_type(out)
    if "sets" in options:
        from bench.plan.options import parse_settings

        options["sets"] = parse_settings(options["sets"])
    runtime = open_runtime(devices=devices, workers=workers)
    get_content = _collect if hasattr(module, "collect") else _make
    content, where = get_content(module, runtime, options)
    write(module.draw(content), out)
    click.echo(f"{out}: {name}{where}")


def _list(as_json: bool) -> None:
    from bench import figures

    rows = [
        {"name": n, "summary": figures.summary(n), "source": m.SOURCE, "options": list(m.OPTIONS)}
        for n in figures.names()
        for m in [figures.figure(n)]
    ]
    if as_json:
        return print_json(rows)
    width = max(len(row["name"]) for row in rows) + 2
    for row in rows:
        options = " ".join(f"--{o}" for o in row["options"])
        echo_prose(row["summary"], " " * width, f"{row['name']:<{width}}")
        echo_prose(f"{row['source']}; {options}", " " * width)
    click.echo(f"try: bench figure {rows[0]['name']} --out {rows[0]['name']}.png")


def _collect(module: ModuleType, runtime: Runtime, options: dict[str, Any]) -> tuple[Content, str]:
    """The content from the results database."""
    from bench.results.db.database import open_database

    if "data" in options:
        options["data"] = options["data"].partition("=")[0]
    with open_database(runtime.database).connect() as connection:
        return module.collect(connection, runtime.home, **options), ""


def _make(module: ModuleType, runtime: Runtime, options: dict[str, Any]) -> tuple[Content, str]:
    """The content from the store, where it is made if it is missing."""
    from bench.figures._content import load
    from bench.launch.stored import Selection

    with open_engine(runtime) as (engine, _):
        stage = module.stage(Selection(engine, **options))
        content = load(engine.ensure(stage))
        is_new = stage.key in engine.outcome.made
        for part in (*stage.inputs.values(), stage):
            _record(engine, part)
    return content, f", {'made' if is_new else 'kept as'} {stage.short}"


def _record(engine: LocalEngine, stage: Stage) -> None:
    """Tell the database of a stage, which may be reused and new to it."""
    from bench.core.records import read_provenance

    folder = engine.store.folder(stage)
    engine.listener.stage_done(stage, folder, read_provenance(folder))
