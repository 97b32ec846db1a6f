"""bench data check and bench data prepare: whether a set is whole, and its index."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from bench.cli._table import Column, echo_prose, print_json, print_table
from bench.cli.data._report import make_report, print_report
from bench.cli.data._sets import data_options, describe_set, open_component
from bench.contracts.data import Data
from bench.core.errors import BadData


@click.command()
@data_options
def check(data: str, scale: str, sets: tuple[str, ...], workers: int, as_json: bool) -> None:
    """Read every image and annotation again, count them and report damage.

    Images are decoded; of the largest labelled sets (ImageNet, Places, iNaturalist, OpenImages)
    only the header and the end are read. A set that is not damaged is ready for runs afterwards,
    as after bench data prepare. The exit code is 2 where something is damaged.
    """
    component, path = open_component(data, scale, sets)
    absent = component.needs_path and not component.place(path).exists()
    try:
        report = make_report(component, path, workers, again=True)
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
