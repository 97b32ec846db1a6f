"""bench data check and bench data prepare: whether a set is whole, and its index."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from bench.cli._table import Column, echo_prose, print_json, print_table
from bench.cli.data._report import make_report, print_report
from bench.cli.data._sets import data_options, describe_set, open_component
from bench.contracts.data import Data
from bench.contracts.images import ImageSet
from bench.core.errors import BadData, BadInput
from bench.core.files import expand_path


@click.command()
@data_options
@click.option(
    "--picture",
    type=click.Path(path_type=Path, dir_okay=False),
    help="PNG file to write: a sheet of random images of each split, with their boxes and the "
    "names of their classes.",
)
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    help="Seed of the choice of images for --picture.",
)
def check(
    data: str,
    scale: str,
    sets: tuple[str, ...],
    workers: int,
    as_json: bool,
    picture: Path | None,
    seed: int,
) -> None:
    """Read every image and annotation again, count them and report damage.

    Images are decoded; of the largest labelled sets (ImageNet, Places, iNaturalist, OpenImages)
    only the header and the end are read. A set that is not damaged is ready for runs afterwards,
    as after bench data prepare. The exit code is 2 where something is damaged.
    """
    component, path = open_component(data, scale, sets)
    draw = _picture(picture, seed) if picture else None
    absent = component.needs_path and not component.place(path).exists()
    try:
        report = make_report(component, path, workers, again=True, draw=draw)
    except BadData as error:
        if absent:
            raise
        where = component.place(path) if component.needs_path else None
        report = {
            "data": component.name,
            "path": str(where) if where else None,
            "stage": None,
            "splits": {},
            "damage": list(error.findings or (str(error),)),
            "findings": error.count,
        }
    if as_json:
        print_json(report)
    else:
        print_report(report)
    sys.exit(2 if report["damage"] else 0)


def _picture(given: Path, seed: int) -> Callable[[Sequence[ImageSet]], str]:
    """What draws the sheet; BadInput, before anything is read, where it cannot be written."""
    file = expand_path(given)
    if file.suffix.lower() != ".png":
        raise BadInput(f"--picture is a PNG file, got {str(given)!r}; try: --picture out.png")
    if not file.parent.is_dir() or not os.access(file.parent, os.W_OK):
        raise BadInput(f"--picture {file}: its folder is not there or cannot be written")

    def draw(splits: Sequence[ImageSet]) -> str:
        from bench.core.picture import save_png
        from bench.data.sheet import draw_sheet

        save_png(file, draw_sheet(splits, seed))
        return str(file)

    return draw


@click.command()
@data_options
def prepare(data: str, scale: str, sets: tuple[str, ...], workers: int, as_json: bool) -> None:
    """Make the index of a set, so that runs start at once.

    Where the set is not here, say what to download and where to put it; the exit code is then 2.
    """
    component, path = open_component(data, scale, sets)
    place = (path or component.default_place()) if component.needs_path else None
    if component.needs_path and (place is None or not place.exists()):
        _guide(component, place, as_json)
        sys.exit(2)
    report = make_report(component, path, workers, again=False)
    if as_json:
        print_json(report)
        return
    print_report(report)
    stage = str(report["stage"])[:12]
    echo_prose(f"ready: {stage}; use it with --data {data} or --task-data {data}", "  ", "")


def _guide(component: Data, place: Path | None, as_json: bool) -> None:
    """What to download, from whom, how large, where to put it."""
    row = describe_set(component.name)
    if as_json:
        print_json(
            {"data": component.name, "path": place and str(place), "stage": None, "get": row}
        )
        return
    from bench.contracts.data import size_text

    name, get = component.name, component.how_to_get
    click.echo(f"{name} is not at {place}" if place else f"no path is known for {name}")
    if get.files:
        echo_prose(f"download ({size_text(get.megabytes)} in all) from {get.site}:", "  ", "")
        print_table(
            [Column(""), Column("", right=True)],
            [(f"  {f}", size_text(mb) if mb else "under 1 MB") for f, mb in get.files.items()],
            heads=False,
        )
    echo_prose(f"layout: {get.layout}", "  ", "")
    under = f", or in $BENCH_DATA/{component.folder or name}" if get.files else ""
    echo_prose(f"where: anywhere, named by --data {name}=PATH{under}", "  ", "")
    click.echo(f"then: bench data check {name}=PATH")
    if component.sample() is not None:
        click.echo(f"to try without it: bench data make {name} --out PATH")
