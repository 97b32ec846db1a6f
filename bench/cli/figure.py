"""bench figure: the papers' figures and pictures, as files for a paper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

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

LIST = "list"


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
    if name == LIST:
        return _list(as_json)
    from bench.api.drawing import draw, refuse_options
    from bench.api.request import make_runtime
    from bench.figures._look import file_type, write

    refuse_options(name, options)
    if out is None:
        raise BadInput(f"--out is missing; try: bench figure {name} --out {name}.png")
    file_type(out)
    drawing = draw(name, options, make_runtime({"devices": devices, "workers": workers}))
    write(drawing.figure, out)
    how = "made" if drawing.is_new else "kept as"
    where = f", {how} {drawing.stage}" if drawing.stage else ""
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
