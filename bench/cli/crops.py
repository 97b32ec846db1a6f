"""bench crops: where every strategy crops, in figures and in pictures."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli._common import (
    Names,
    ScaleName,
    devices_option,
    local_engine,
    open_runtime,
    print_json,
    settings,
)
from bench.cli._recall import recall
from bench.core.errors import BenchError

if TYPE_CHECKING:
    from bench.core.stage import Stage
    from bench.launch.local import LocalEngine
    from bench.plan.cell import Cell

COLUMNS = ("objectness", "poor", "coarse", "precise", "coverage", "overlap", "shared_objectness")


@click.group()
def command() -> None:
    """Measure and draw where every strategy crops."""


command.add_command(recall)


@command.command()
@click.option(
    "--crop",
    "-c",
    type=Names("crop"),
    default="all",
    show_default=True,
    help="Names, globs or all.",
)
@click.option(
    "--data", type=Names("data"), default="scenes", show_default=True, help="NAME or NAME=PATH."
)
@click.option("--split", default="train", show_default=True)
@click.option(
    "--source", type=click.Choice(["boxes", "masks"]), default="boxes", show_default=True
)
@click.option(
    "--seeds", default=1, show_default=True, type=click.IntRange(1, 100), help="Epochs to draw."
)
@click.option(
    "--image-objectness",
    type=click.FloatRange(0, 100),
    metavar="PERCENT",
    help="Weigh the images so that their own mean objectness is this (VOC2007 trainval in the paper: 36.4).",
)
@click.option("--scale", "-s", type=ScaleName(), default="tiny", show_default=True)
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Override a setting.")
@click.option("--devices", default="auto", show_default=True)
@click.option("--workers", default=2, show_default=True, type=click.IntRange(0, 256))
@click.option("--json", "as_json", is_flag=True)
@click.option("--csv", "as_csv", is_flag=True)
def stats(
    crop: str,
    data: str,
    split: str,
    source: str,
    seeds: int,
    image_objectness: float | None,
    scale: str,
    sets: tuple[str, ...],
    devices: str,
    workers: int,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Objectness, shares of poor, coarse and precise crops, sizes, coverage of objects, overlap.

    Percent, mean over crops with the half-width of the 95 % interval over images.
    """
    runtime = open_runtime(devices=devices_option(devices), workers=workers)
    cells, paths = _cells(crop, data, scale, sets)
    from bench.plan.planner import plan_each

    planned = plan_each(cells, runtime, paths, lambda p: p.crop_stats(source, seeds), split=split)
    rows: list[dict[str, Any]] = []
    failed: dict[str, list[str]] = {}
    code = 0
    with local_engine(runtime) as (engine, _):
        for cell, stage in planned:
            try:
                rows.append(_row(engine, cell, stage, image_objectness))
            except BenchError as error:
                failed.setdefault(str(error), []).append(cell.crop)
                code = max(code, error.exit_code)
    if as_json:
        print_json(rows)
    elif as_csv:
        _write_csv(rows)
    elif rows:
        title = f"{data.partition('=')[0]} {split}, objects by {source}"
        weighed = (
            f", images weighed to {image_objectness:g} %" if image_objectness is not None else ""
        )
        _table(rows, title + weighed)
    for reason, names in failed.items():
        click.echo(f"bench: {', '.join(names)}: {reason}", err=True)
    sys.exit(code)


def _cells(
    crop: str, data: str, scale: str, sets: tuple[str, ...]
) -> tuple[list[Cell], dict[str, Path | None]]:
    from bench.plan.cell import Cell
    from bench.plan.options import check_scale, match, parse_data

    name, path = parse_data(data)
    assert name is not None
    first = Cell("", "", "", name, name, check_scale(scale), 0, settings(sets))
    return [replace(first, crop=c) for c in match("crop", "*" if crop == "all" else crop)], {
        name: path
    }


def _row(
    engine: LocalEngine, cell: Cell, stage: Stage, image_objectness: float | None
) -> dict[str, Any]:
    import numpy as np

    from bench.stages.crop_stats import tilt_to_objectness

    folder = engine.ensure(stage)
    stats = json.loads((folder / "stats.json").read_text())
    for part in (stage.inputs["data"], stage):  # reused ones may be new to this database
        made = engine.store.folder(part)
        engine.listener.stage_done(part, made, json.loads((made / "provenance.json").read_text()))
    if image_objectness is not None:
        with np.load(folder / "per_image.npz") as per_image:
            stats = tilt_to_objectness(stats, per_image, image_objectness / 100)
    where = {
        "crop": cell.crop,
        "data": cell.data,
        "split": stage.params["split"],
        "stage": stage.key,
    }
    settings = stage.params["crop"]["params"]
    return {**where, "source": stage.params["source"], "params": settings, "stats": stats}


def _write_csv(rows: list[dict[str, Any]]) -> None:
    """One line per crop: every mean and half-width as a column."""
    names = (
        [n for n, v in rows[0]["stats"].items() if isinstance(v, dict) and "mean" in v]
        if rows
        else []
    )
    writer = csv.writer(sys.stdout, lineterminator="\n")
    plain = ["crop", "data", "split", "source", "images", "samples_per_epoch", "crops_per_image"]
    writer.writerow([*plain, *(f"{n}{end}" for n in names for end in ("", "_ci95"))])
    for row in rows:
        flat = {**row, **row["stats"]}
        values = [row["stats"][n][key] for n in names for key in ("mean", "ci95")]
        writer.writerow([*(flat[p] for p in plain), *values])


def _table(rows: list[dict[str, Any]], title: str) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console.width = 160
    table = Table(title=title, title_justify="left")
    for name in ("crop", "per image", "side px", "area", *COLUMNS):
        table.add_column(name.replace("_", " "), justify="left" if name == "crop" else "right")
    for row in sorted(rows, key=lambda r: r["stats"]["objectness"]["mean"] or 0):
        stats = row["stats"]
        middle = stats["side_quantiles"]["50"]
        table.add_row(
            row["crop"],
            f"{stats['crops_per_image']:.1f}",
            "-" if middle is None else f"{middle:.0f}",
            _percent(stats["area"], plain=True),
            *(_percent(stats[name], plain=name != "objectness") for name in COLUMNS),
        )
    console.print(table)
    click.echo(
        "poor < 20 % objectness, precise > 80 %; coverage: objects half of which one crop holds; "
        "overlap: "
        "IoU of an image's crops;\nshared objectness: object pixels in the intersection of the "
        "two views"
    )


def _percent(value: dict[str, Any], plain: bool = False) -> str:
    if value["mean"] is None:
        return "-"
    mean = f"{100 * value['mean']:.1f}"
    return mean if plain or value["ci95"] is None else f"{mean} ±{100 * value['ci95']:.1f}"


@command.command()
@click.argument("image")
@click.option(
    "--crop",
    "-c",
    type=Names("crop"),
    default="all",
    show_default=True,
    help="Names, globs or all.",
)
@click.option(
    "--data",
    type=Names("data"),
    default="scenes",
    show_default=True,
    help="NAME or NAME=PATH: where IMAGE is an id, its data; for a file, the data that networks learn from.",
)
@click.option("--scale", "-s", type=ScaleName(), default="tiny", show_default=True)
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Override a setting.")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default="crops.png",
    show_default=True,
)
@click.option(
    "--width",
    default=360,
    show_default=True,
    type=click.IntRange(64, 4096),
    help="Of a panel, pixels.",
)
@click.option("--devices", default="auto", show_default=True)
@click.option("--workers", default=2, show_default=True, type=click.IntRange(0, 256))
def show(
    image: str,
    crop: str,
    data: str,
    scale: str,
    sets: tuple[str, ...],
    out: Path,
    width: int,
    devices: str,
    workers: int,
) -> None:
    """Draw every strategy's crops of one picture. IMAGE: a file, or an image id of --data."""
    from bench.core.picture import save_png
    from bench.figures.crop_pictures import picture

    runtime = open_runtime(devices=devices_option(devices), workers=workers)
    cells, paths = _cells(crop, data, scale, sets)
    file = Path(image)
    with local_engine(runtime) as (engine, _):
        drawn, left_out = picture(
            cells, runtime, paths, engine, file if file.is_file() else image, width
        )
    save_png(out, drawn)
    for name, reason in left_out.items():
        click.echo(f"left out: {name}: {reason}", err=True)
    click.echo(
        f"{out}: {len(cells) - len(left_out)} strategies, {drawn.shape[1]} x {drawn.shape[0]} "
        "pixels"
    )
