"""bench data: which data sets there are, how to get them, whether yours is whole. Nothing is
downloaded."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

import click

from bench.cli._engine import open_engine
from bench.cli._options import JSON, SCALE, SET, WORKERS, Names, add_options, say_left_out
from bench.cli._table import Column, echo_prose, print_json, print_table
from bench.contracts import registry
from bench.core.errors import BadData, BadInput, unknown
from bench.core.files import expand_path
from bench.launch.session import open_runtime

if TYPE_CHECKING:
    from bench.contracts.data import Data

REPAIRS = {  # names in report.json -> what they mean
    "clipped": "boxes clipped to their image",
    "dropped": "empty boxes dropped",
    "unmasked": "objects without a mask",
}


SHOWN = 8  # tasks of a set that the list names


class SetRow(TypedDict):
    """A set as `bench data list --json` describes it."""

    name: str
    summary: str
    tasks: list[str]
    needs_path: bool
    looked_for: str | None
    found: bool
    files: dict[str, float]
    megabytes: float
    site: str
    layout: str
    official: dict[str, Any]
    sample: bool


class Split(TypedDict, total=False):
    """What a split holds; a count is left out where the set has none."""

    images: int
    objects: int
    crowds: int
    difficult: int
    with_keypoints: int
    masks: int
    classes: int
    classes_shown: int
    published: int | None
    repairs: dict[str, int]
    remarks: list[str]


class Report(TypedDict):
    """What `bench data check` and `prepare` say of a set; `stage`: its key, if it was made."""

    data: str
    path: str | None
    stage: str | None
    splits: dict[str, Split | None]
    damage: list[str]
    findings: NotRequired[int]
    get: NotRequired[SetRow]


@click.group()
def command() -> None:
    """List, check and prepare data sets. Nothing is ever downloaded."""


_data_options = add_options(
    click.argument("data", type=Names("data"), metavar="NAME[=PATH]"),
    SCALE(help="Scale whose settings of the data are used."),
    SET(),
    WORKERS(help="Processes that read the files."),
    JSON(),
)


@command.command("list")
@JSON()
def list_sets(as_json: bool) -> None:
    """List every set: its size to download, the tasks that use it, and where it is here."""
    usable, reasons = registry.load_all("data")
    rows = [_describe(name) for name in usable]
    for reason in reasons.values():
        say_left_out(f"left out: {reason}")
    if as_json:
        print_json(rows)
        return
    from bench.contracts.data import size_text

    width = max(len(row["name"]) for row in rows)
    hanging = " " * (width + 2)
    for row in rows:
        size = size_text(row["megabytes"]) if row["files"] else "no download"
        tasks = ", ".join(row["tasks"][:SHOWN]) or "no task by default"
        tasks += f" and {len(row['tasks']) - SHOWN} more" if len(row["tasks"]) > SHOWN else ""
        echo_prose(row["summary"], hanging, f"{row['name']:<{width}}  ")
        echo_prose(f"{size}; {_whereabouts(row)}; {tasks}", hanging)
    click.echo("How to get one: bench data prepare NAME")


def _describe(name: str) -> SetRow:
    cls: Any = registry.load("data", name)
    kinds: dict[str, Any] = dict(registry.load_all("task")[0])
    tasks = [task for task, kind in kinds.items() if name in kind.data.values()]
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


def _whereabouts(row: SetRow) -> str:
    if not row["needs_path"]:
        return "generated here"
    if row["found"]:
        return f"found at {row['looked_for']}"
    return f"not found at {row['looked_for']}" if row["looked_for"] else "no path known"


@command.command()
@_data_options
def check(data: str, scale: str, sets: tuple[str, ...], workers: int, as_json: bool) -> None:
    """Read every image and annotation again, count them and report damage.

    Images are decoded; of the largest labelled sets (ImageNet, Places, iNaturalist, OpenImages)
    only the header and the end are read. A set that is not damaged is ready for runs afterwards,
    as after bench data prepare. The exit code is 2 where something is damaged.
    """
    component, path = _component(data, scale, sets)
    absent = component.needs_path and not component.place(path).exists()
    try:
        report = _make_index(component, path, workers, again=True)
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
        _print(report)
    sys.exit(2 if report["damage"] else 0)


@command.command()
@_data_options
def prepare(data: str, scale: str, sets: tuple[str, ...], workers: int, as_json: bool) -> None:
    """Make the index of a set, so that runs start at once.

    Where the set is not here, say what to download and where to put it; the exit code is then 2.
    """
    component, path = _component(data, scale, sets)
    place = (path or component.default_place()) if component.needs_path else None
    if component.needs_path and (place is None or not place.exists()):
        _guide(component, place, as_json)
        sys.exit(2)
    report = _make_index(component, path, workers, again=False)
    if as_json:
        print_json(report)
        return
    _print(report)
    stage = str(report["stage"])[:12]
    echo_prose(f"ready: {stage}; use it with --data {data} or --task-data {data}", "  ", "")


def _guide(component: Data, place: Path | None, as_json: bool) -> None:
    """What to download, from whom, how large, where to put it."""
    row = _describe(component.name)
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


@command.command()
@click.argument("name")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder to write, which must be new or empty.",
)
@click.option(
    "--train",
    default=120,
    show_default=True,
    type=click.IntRange(2, 100_000),
    help="Images of the training split.",
)
@click.option(
    "--val",
    default=40,
    show_default=True,
    type=click.IntRange(1, 100_000),
    help="Images of the split that is scored on.",
)
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    help="Seed of the generated images.",
)
def make(name: str, out: Path, train: int, val: int, seed: int) -> None:
    """Write a small generated set in the official layout of NAME.

    It is for trying --data NAME=PATH from end to end, before the real set is downloaded.
    """
    cls: Any = registry.load("data", name)
    place = expand_path(out)
    if place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise BadInput(
            f"--out {place} exists and is not an empty folder; try: --out with another folder"
        )
    from bench.data.runner import write_sample

    write_sample(cls, place, train, val, seed)
    more = "".join(f" --set {name}.{setting}" for setting in cls.sample_settings)
    click.echo(f"wrote generated images in the layout of {name}: {place}")
    click.echo(f"then: bench data check {name}={place}{more}")


def _component(text: str, scale: str, sets: tuple[str, ...]) -> tuple[Data, Path | None]:
    """The data set of NAME or NAME=PATH with its settings: `field`, `data.field`, `NAME.field`."""
    from bench.plan.options import check_scale, parse_data, parse_settings

    name, path = parse_data(text)
    if name is None:
        raise BadInput("the name of a data set is missing; try: bench data list")
    mine = {}
    for key, value in parse_settings(sets):
        owner, _, setting = key.rpartition(".")
        if owner not in ("", "data", name):
            raise unknown("owner of a setting", owner, [name], f"bench list params {name}")
        mine[setting] = value
    component: Any = registry.load("data", name).resolve(check_scale(scale), mine)
    return component, path


def _make_index(component: Data, path: Path | None, workers: int, again: bool) -> Report:
    """Make the set's stage (`again`: every file is read, and the stage is made also where it is in
    the store), and say what it holds."""
    from bench.data.contents import identify
    from bench.data.files import ignore_remembered

    runtime = open_runtime(workers=workers)
    runtime.tracker = "none"
    with ignore_remembered() if again else nullcontext():
        stage = identify(component, path, runtime)
    with open_engine(runtime) as (engine, _):
        if again:
            engine.forced.add(stage.key)
        folder = engine.ensure(stage)
    root = runtime.roots[stage.key]
    report = json.loads((folder / "report.json").read_text())
    published = component.published()
    splits: dict[str, Split | None] = {}
    for split in component.splits:
        if split not in report:
            splits[split] = None
            continue
        counts: Any = component.load(folder, root, split).counts()
        repairs = {name: report[split][name] for name in REPAIRS if report[split].get(name)}
        splits[split] = {
            **counts,
            "published": published.get(split),
            "repairs": repairs,
            "remarks": report[split].get("remarks", []),
        }
    where = str(root) if component.needs_path else None
    return {
        "data": component.name,
        "path": where,
        "stage": stage.key,
        "splits": splits,
        "damage": [],
    }


def _print(report: Report) -> None:
    """One line per finding."""
    click.echo(f"{report['data']}: {report['path'] or 'generated'}")
    for name, split in report["splits"].items():
        if split is None:
            click.echo(f"  {name}: missing")
            continue
        echo_prose(f"{name}: {_counts(split)}", "    ", "  ")
        published = split["published"]
        if published not in (None, split["images"]):
            echo_prose(
                f"{name}: {split['images']:,} images, but the published lists have {published:,}",
                "    ",
                "  ",
            )
        for repair, n in split["repairs"].items():
            click.echo(f"  {name}: {n:,} {REPAIRS[repair]}")
        for remark in split["remarks"]:
            echo_prose(f"{name}: {remark}", "    ", "  ")
    for line in report["damage"]:
        echo_prose(f"damaged: {line}", "    ", "  ")
    click.echo(_conclude(report))


def _conclude(report: Report) -> str:
    """The last line. "nothing is damaged" is not said where something was left out or is odd."""
    count = report.get("findings", 0)
    if count:
        return f"{count} finding{'s' if count > 1 else ''} of damage"
    splits = [split for split in report["splits"].values() if split]
    odd = sum(len(s["remarks"]) + ("dropped" in s["repairs"]) for s in splits)
    if not odd:
        return "nothing is damaged"
    return f"the set can be used; look at the {odd} remark{'s' if odd > 1 else ''} above first"


def _counts(split: Split) -> str:
    counts: dict[str, Any] = dict(split)
    names = ("images", "objects", "crowds", "difficult", "with_keypoints", "masks")
    parts = [f"{counts[name]:,} {name.replace('_', ' ')}" for name in names if name in counts]
    if "classes" in split:
        shown = split.get("classes_shown")
        parts.append(
            f"{shown} of {split['classes']} classes"
            if shown is not None
            else f"{split['classes']} classes"
        )
    if split["published"] == split["images"]:
        parts.append("as many images as published")
    return ", ".join(parts)
