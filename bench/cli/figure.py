"""bench figure: the papers' figures and pictures, as files for a paper."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from bench.cli._common import (
    Names,
    ScaleName,
    devices_option,
    local_engine,
    open_runtime,
    print_json,
    settings,
)
from bench.core.errors import BadInput

if TYPE_CHECKING:
    from types import ModuleType

    from bench.figures._content import Content

LIST = "list"
# parameter -> what the option is called
GIVEN = {"backbones": "backbone", "images": "image", "sets": "set"}
ALWAYS = {"name", "out", "devices", "workers", "as_json"}


class FigureName(click.ParamType):
    """A figure, or `list`."""

    name = "name"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from bench import figures

        return [CompletionItem(n) for n in (LIST, *figures.names()) if n.startswith(incomplete)]


@click.command()
@click.argument("name", type=FigureName())
@click.option("--out", type=click.Path(path_type=Path), help="The file: .png, .svg or .pdf.")
@click.option(
    "--backbone",
    "-b",
    "backbones",
    multiple=True,
    metavar="KEY",
    help="Key of a backbone's stage.",
)
@click.option("--cell", metavar="KEY", help="Key of a result.")
@click.option("--image", "-i", "images", multiple=True, metavar="ID|FILE", help="Images to show.")
@click.option(
    "--data", type=Names("data"), help="Images of NAME or NAME=PATH; results of this data."
)
@click.option("--split", help="Split of the data.")
@click.option("--count", type=click.IntRange(1, 64), help="Images to show, 4 unless told.")
@click.option(
    "--side", type=click.IntRange(32, 2048), help="Short side that networks see, pixels."
)
@click.option("--crop", "-c", type=Names("crop"), help="Names or globs.")
@click.option("--scale", "-s", type=ScaleName(), help="Of settings and results.")
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Override a setting.")
@click.option("--method", "-m", type=Names("method"), help="Names or globs.")
@click.option("--task", "-t", type=Names("task"), help="Whose results.")
@click.option("--metric", help="Of the task; its headline unless told.")
@click.option(
    "--source", type=click.Choice(["measured", "reported", "both"]), help="Of the results."
)
@click.option(
    "--size", type=click.Choice(["steps", "time", "none"]), help="What the size of a point says."
)
@click.option(
    "--objects", type=click.Choice(["boxes", "masks"]), help="What counts as object pixels."
)
@click.option("--devices", default="auto", show_default=True)
@click.option("--workers", default=2, show_default=True, type=click.IntRange(0, 256))
@click.option("--json", "as_json", is_flag=True, help="Of the list.")
def command(
    name: str, out: Path | None, devices: str, workers: int, as_json: bool, **options: Any
) -> None:
    """Draw figure NAME into a file; `bench figure list` shows which there are and what they take.

    Pictures that need networks are made from what the store holds, the newest unless told, and are
    kept
    there: the dashboard shows them. The same command again only draws.
    """
    from bench import figures

    if name == LIST:
        return _list(as_json)
    module = figures.figure(name)
    given = {k: v for k, v in options.items() if v not in (None, (), "")}
    for parameter in given:
        called = GIVEN.get(parameter, parameter)
        if called not in module.OPTIONS:
            takes = ", ".join(f"--{o}" for o in module.OPTIONS)
            raise BadInput(f"{name} takes no --{called}; it takes {takes}")
    if out is None:
        raise BadInput(f"--out is missing; try: bench figure {name} --out {name}.png")
    from bench.figures._look import file_type, write

    file_type(out)
    if "sets" in given:
        given["sets"] = settings(given["sets"])
    runtime = open_runtime(devices=devices_option(devices), workers=workers)
    content, where = (
        _collected(module, runtime, given)
        if hasattr(module, "collect")
        else _made(module, runtime, given)
    )
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
    for row in rows:
        options = " ".join(f"--{o}" for o in row["options"])
        click.echo(f"{row['name']:<12} {row['summary']}\n{'':<12} {row['source']}; {options}")
    click.echo(f"try: bench figure {rows[0]['name']} --out {rows[0]['name']}.png")


def _collected(module: ModuleType, runtime: Any, given: dict[str, Any]) -> tuple[Content, str]:
    """The content from the results database."""
    from bench.results.db.database import open_database

    if "data" in given:
        given["data"] = given["data"].partition("=")[0]
    with open_database(runtime.database).engine.connect() as connection:
        return module.collect(connection, runtime.home, **given), ""


def _made(module: ModuleType, runtime: Any, given: dict[str, Any]) -> tuple[Content, str]:
    """The content from the store; made where it is not there."""
    from bench.figures._content import load
    from bench.launch.stored import Selection

    with local_engine(runtime) as (engine, _):
        stage = module.stage(Selection(engine, **given))
        content = load(engine.ensure(stage))
        made = stage.key in engine.outcome.made
        for part in (*stage.inputs.values(), stage):
            _record(engine, part)
    return content, f", {'made' if made else 'kept as'} {stage.short}"


def _record(engine: Any, stage: Any) -> None:
    """Reused stages may be new to this database."""
    import json

    folder = engine.store.folder(stage)
    engine.listener.stage_done(stage, folder, json.loads((folder / "provenance.json").read_text()))
