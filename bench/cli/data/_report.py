"""What `bench data check` and `prepare` say of a set: the index is made, counted and printed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import click

from bench.cli._engine import open_engine
from bench.cli._table import echo_prose
from bench.cli.data._sets import SetRow
from bench.contracts.data import Data
from bench.contracts.images import ImageSet
from bench.launch.session import open_runtime

REPAIRS = {  # names in report.json -> what they mean
    "clipped": "boxes clipped to their image",
    "dropped": "empty boxes dropped",
    "unmasked": "objects without a mask",
}


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
    picture: NotRequired[str]  # the file


def make_report(
    component: Data,
    path: Path | None,
    workers: int,
    again: bool,
    draw: Callable[[Sequence[ImageSet]], str] | None = None,
) -> Report:
    """Make the set's stage (`again`: every file is read, and the stage is made also where it is in
    the store), and say what it holds. draw: makes a picture of the splits, and returns where it
    is."""
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
    opened: list[ImageSet] = []
    for split in component.splits:
        if split not in report:
            splits[split] = None
            continue
        opened.append(component.load(folder, root, split))
        counts: Any = opened[-1].counts()
        repairs = {name: report[split][name] for name in REPAIRS if report[split].get(name)}
        splits[split] = {
            **counts,
            "published": published.get(split),
            "repairs": repairs,
            "remarks": report[split].get("remarks", []),
        }
    where = str(root) if component.needs_path else None
    counted: Report = {
        "data": component.name,
        "path": where,
        "stage": stage.key,
        "splits": splits,
        "damage": [],
    }
    return {**counted, "picture": draw(opened)} if draw else counted


def print_report(report: Report) -> None:
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
    if "picture" in report:
        click.echo(f"picture: {report['picture']}")
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
