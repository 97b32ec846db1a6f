"""bench data: which data sets there are, how to get them, whether yours is whole. Nothing is
downloaded."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli._common import Names, ScaleName, local_engine, open_runtime, print_json, settings
from bench.contracts import registry
from bench.core.errors import BadData, BadInput, unknown

if TYPE_CHECKING:
    from bench.contracts.data import Data

REPAIRS = {  # names in report.json -> what they mean
    "clipped": "boxes clipped to their image",
    "dropped": "empty boxes dropped",
}


@click.group()
def command() -> None:
    """List, check and prepare data sets. Nothing is ever downloaded."""


def _options(function: Callable[..., Any]) -> Callable[..., Any]:
    """NAME[=PATH] and the options that say how its stage is made."""
    options = [
        click.argument("data", type=Names("data"), metavar="NAME[=PATH]"),
        click.option("--scale", "-s", type=ScaleName(), default="tiny", show_default=True),
        click.option(
            "--set", "sets", multiple=True, metavar="KEY=VALUE", help="Override a setting."
        ),
        click.option("--workers", default=2, show_default=True, type=click.IntRange(0, 256)),
        click.option("--json", "as_json", is_flag=True),
    ]
    for option in reversed(options):
        function = option(function)
    return function


@command.command("list")
@click.option("--json", "as_json", is_flag=True)
def list_sets(as_json: bool) -> None:
    """Every set: size to download, the tasks that use it by default, where it was found."""
    rows = [_described(name) for name in registry.names("data")]
    if as_json:
        print_json(rows)
        return
    from bench.contracts.data import size_text

    width = max(len(row["name"]) for row in rows)
    for row in rows:
        size = size_text(row["megabytes"]) if row["files"] else "no download"
        tasks = ", ".join(row["tasks"][:8]) or "no task by default"
        tasks += f" and {len(row['tasks']) - 8} more" if len(row["tasks"]) > 8 else ""
        click.echo(f"{row['name']:<{width}}  {row['summary']}")
        click.echo(f"{'':<{width}}  {size}; {_whereabouts(row)}; {tasks}")
    click.echo("How to get one: bench data prepare NAME")


def _described(name: str) -> dict[str, Any]:
    cls: Any = registry.load("data", name)
    tasks = [t for t in registry.names("task") if name in _task_data(t)]
    place = cls.default_place() if cls.needs_path else None
    get = cls.how_to_get
    return {
        "name": name,
        "summary": registry.entry("data", name).summary,
        "tasks": tasks,
        "needs_path": cls.needs_path,
        "looked_for": str(place) if place else None,
        "found": bool(place and place.exists()),
        "files": dict(get.files),
        "megabytes": get.megabytes,
        "site": get.site,
        "layout": get.layout,
        "official": dict(cls.official),
        "sample": cls.sample() is not None,
    }


def _task_data(task: str) -> list[str]:
    defaults: dict[str, str] = registry.load("task", task).data  # type: ignore[attr-defined]
    return list(defaults.values())


def _whereabouts(row: dict[str, Any]) -> str:
    if not row["needs_path"]:
        return "generated here"
    if row["found"]:
        return f"at {row['looked_for']}"
    return f"not at {row['looked_for']}" if row["looked_for"] else "no path known"


@command.command()
@_options
def check(data: str, scale: str, sets: tuple[str, ...], workers: int, as_json: bool) -> None:
    """Read every image and annotation again; count them and report damage. Exit code 2 when
    damaged.

    Images are decoded; of the largest labelled sets (ImageNet, Places, iNaturalist, OpenImages)
    only the header and the end are read. A set that is whole is ready for runs afterwards, as
    after `prepare`.
    """
    component, path = _component(data, scale, sets)
    absent = component.needs_path and not component.place(path).exists()
    try:
        report = _made(component, path, workers, again=True)
    except BadData as error:
        if absent:
            raise
        where = component.place(path) if component.needs_path else None
        report = {
            "data": component.name,
            "path": where and str(where),
            "stage": None,
            "splits": {},
        }
        report["damage"] = list(error.findings or (str(error),))
    if as_json:
        print_json(report)
    else:
        _print(report)
    sys.exit(2 if report["damage"] else 0)


@command.command()
@_options
def prepare(data: str, scale: str, sets: tuple[str, ...], workers: int, as_json: bool) -> None:
    """Make a set's index, so that runs start at once; or say what to download and where to put it.

    Exit code 2 while the set is absent.
    """
    component, path = _component(data, scale, sets)
    place = (path or component.default_place()) if component.needs_path else None
    if component.needs_path and (place is None or not place.exists()):
        _guide(component, place, as_json)
        sys.exit(2)
    report = _made(component, path, workers, again=False)
    if as_json:
        print_json(report)
        return
    _print(report)
    click.echo(f"ready: {report['stage'][:12]}; use it with --data {data} or --task-data {data}")


def _guide(component: Data, place: Path | None, as_json: bool) -> None:
    """What to download, from whom, how large, where to put it."""
    row = _described(component.name)
    if as_json:
        print_json(
            {"data": component.name, "path": place and str(place), "stage": None, "get": row}
        )
        return
    from bench.contracts.data import size_text

    name, get = component.name, component.how_to_get
    click.echo(f"{name} is not at {place}" if place else f"no path is known for {name}")
    if get.files:
        click.echo(f"download ({size_text(get.megabytes)} in all) from {get.site}:")
    for file, megabytes in get.files.items():
        click.echo(f"  {file:<44} {size_text(megabytes) if megabytes else 'under 1 MB'}")
    click.echo(f"layout: {get.layout}")
    under = f", or in $BENCH_DATA/{component.folder or name}" if get.files else ""
    click.echo(f"where: anywhere, named by --data {name}=PATH{under}")
    click.echo(f"then: bench data check {name}=PATH")
    if component.sample() is not None:
        click.echo(f"to try without it: bench data make {name} --out PATH")


@command.command()
@click.argument("name")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="A folder, new or empty."
)
@click.option(
    "--train", default=120, show_default=True, type=click.IntRange(2, 100_000), help="Images."
)
@click.option(
    "--val", default=40, show_default=True, type=click.IntRange(1, 100_000), help="Images."
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
def make(name: str, out: Path, train: int, val: int, seed: int) -> None:
    """Write a small generated set in the official layout of NAME, to try `--data NAME=PATH` end to
    end."""
    cls: Any = registry.load("data", name)
    place = out.expanduser().absolute()
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise BadInput(f"--out {place} is there and not an empty folder; try: another folder")
    from bench.data.runner import write_sample

    write_sample(cls, place, train, val, seed)
    more = "".join(f" --set {name}.{setting}" for setting in cls.sample_settings)
    click.echo(f"wrote generated images in the layout of {name}: {place}")
    click.echo(f"then: bench data check {name}={place}{more}")


def _component(given: str, scale: str, sets: tuple[str, ...]) -> tuple[Data, Path | None]:
    """The data set of NAME or NAME=PATH with its settings (`field`, `data.field` or `NAME.field`)."""
    from bench.plan.options import check_scale, parse_data

    name, path = parse_data(given)
    if name is None:
        raise BadInput("which data set? try: bench data list")
    mine = {}
    for key, value in settings(sets):
        owner, _, setting = key.rpartition(".")
        if owner not in ("", "data", name):
            raise unknown("owner of a setting", owner, [name], f"bench list params {name}")
        mine[setting] = value
    made: Any = registry.load("data", name).resolve(check_scale(scale), mine)
    return made, path


def _made(component: Data, path: Path | None, workers: int, again: bool) -> dict[str, Any]:
    """Make the set's stage (`again`: also where it is there), and say what it holds."""
    runtime = open_runtime(workers=workers)
    runtime.tracker = "none"
    stage = component.stage(path, runtime)
    with local_engine(runtime) as (engine, _):
        if again:
            engine.forced.add(stage.key)
        folder = engine.ensure(stage)
    root = runtime.roots[stage.key]
    report = json.loads((folder / "report.json").read_text())
    published = component.published()
    splits: dict[str, Any] = {}
    for split in component.splits:
        if split not in report:
            splits[split] = None
            continue
        found = component.load(folder, root, split).counts()
        repairs = {name: report[split][name] for name in REPAIRS if report[split].get(name)}
        splits[split] = {**found, "published": published.get(split), "repairs": repairs}
    where = str(root) if component.needs_path else None
    return {
        "data": component.name,
        "path": where,
        "stage": stage.key,
        "splits": splits,
        "damage": [],
    }


def _print(report: dict[str, Any]) -> None:
    """One line per finding."""
    click.echo(f"{report['data']}: {report['path'] or 'generated'}")
    for split, found in report["splits"].items():
        if found is None:
            click.echo(f"  {split}: not there")
            continue
        click.echo(f"  {split}: {_counted(found)}")
        if found["published"] not in (None, found["images"]):
            click.echo(
                f"  {split}: {found['images']:,} images, the published lists have "
                f"{found['published']:,}"
            )
        for name, n in found["repairs"].items():
            click.echo(f"  {split}: {n:,} {REPAIRS[name]}")
    for line in report["damage"]:
        click.echo(f"  damaged: {line}")
    count = len(report["damage"])
    click.echo(
        f"{count} finding{'s' if count > 1 else ''} of damage" if count else "nothing is damaged"
    )


def _counted(found: dict[str, Any]) -> str:
    names = ("images", "objects", "crowds", "difficult", "with_keypoints", "masks")
    parts = [f"{found[name]:,} {name.replace('_', ' ')}" for name in names if name in found]
    if "classes" in found:
        shown = found.get("classes_shown")
        parts.append(
            f"{shown} of {found['classes']} classes"
            if shown is not None
            else f"{found['classes']} classes"
        )
    if found["published"] == found["images"]:
        parts.append("as many images as published")
    return ", ".join(parts)
