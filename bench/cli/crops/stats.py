"""bench crops stats: where every strategy crops, in numbers."""

from __future__ import annotations

import csv
import json
import sys
from typing import TYPE_CHECKING, Any

import click

from bench.cli._engine import open_engine
from bench.cli._options import (
    CROP,
    IMAGES_DATA,
    JSON,
    SCALE,
    SET,
    SPLIT,
    device_options,
    say_left_out,
)
from bench.cli._table import Column, echo_prose, print_json, print_table
from bench.core.errors import BenchError
from bench.launch.session import open_runtime

if TYPE_CHECKING:
    from bench.core.stage import Stage
    from bench.launch.local import LocalEngine
    from bench.plan.cell import Cell

COLUMNS = ("objectness", "poor", "coarse", "precise", "coverage", "overlap", "shared_objectness")


@click.command()
@CROP(default="all", show_default=True)
@IMAGES_DATA()
@SPLIT()
@click.option(
    "--source",
    type=click.Choice(["boxes", "masks"]),
    default="boxes",
    show_default=True,
    help="What counts as the pixels of an object.",
)
@click.option(
    "--seeds",
    default=1,
    show_default=True,
    type=click.IntRange(1, 100),
    help="Number of epochs that crops are drawn for.",
)
@click.option(
    "--image-objectness",
    type=click.FloatRange(0, 100),
    metavar="PERCENT",
    help="Weigh the images so that their own mean objectness is this, for example 36.4, that of "
    "VOC2007 trainval in the paper.",
)
@SCALE()
@SET()
@device_options
@JSON()
@click.option("--csv", "as_csv", is_flag=True, help="Print a line of CSV for each crop strategy.")
def stats(
    crop: str,
    data: str,
    split: str,
    source: str,
    seeds: int,
    image_objectness: float | None,
    scale: str,
    sets: tuple[str, ...],
    devices: int | str,
    workers: int,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Measure the crops of every strategy: objectness, sizes, coverage of objects, overlap.

    Numbers are percent: the mean over crops, with the half-width of the 95 % interval over images.
    """
    from bench.plan.product import make_crop_cells

    runtime = open_runtime(devices=devices, workers=workers)
    cells, paths = make_crop_cells(crop, data, scale, sets, say_left_out)
    from bench.plan.planner import plan_each

    planned = plan_each(cells, runtime, paths, lambda p: p.crop_stats(source, seeds), split=split)
    rows: list[dict[str, Any]] = []
    failed: dict[str, list[str]] = {}
    code = 0
    with open_engine(runtime) as (engine, _):
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
        _print(rows, title + weighed)
    for reason, names in failed.items():
        click.echo(f"bench: {', '.join(names)}: {reason}", err=True)
    sys.exit(code)


def _row(
    engine: LocalEngine, cell: Cell, stage: Stage, image_objectness: float | None
) -> dict[str, Any]:
    import numpy as np

    from bench.core.records import read_provenance
    from bench.stages.crop_stats import tilt_to_objectness

    folder = engine.ensure(stage)
    stats = json.loads((folder / "stats.json").read_text())
    for part in (stage.inputs["data"], stage):  # reused ones may be new to this database
        place = engine.store.folder(part)
        engine.listener.stage_done(part, place, read_provenance(place))
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


def _print(rows: list[dict[str, Any]], title: str) -> None:
    lines = []
    for row in sorted(rows, key=lambda r: r["stats"]["objectness"]["mean"] or 0):
        stats = row["stats"]
        middle = stats["side_quantiles"]["50"]
        lines.append(
            (
                row["crop"],
                f"{stats['crops_per_image']:.1f}",
                "-" if middle is None else f"{middle:.0f}",
                _percent(stats["area"], plain=True),
                *(_percent(stats[name], plain=name != "objectness") for name in COLUMNS),
            )
        )
    names = ("per image", "side px", "area", *(name.replace("_", " ") for name in COLUMNS))
    heads = [Column(name, right=True) for name in names]
    print_table([Column("crop", key=True), *heads], lines, title)
    echo_prose(
        "poor: under 20 % objectness; precise: over 80 %; coverage: objects of which one crop "
        "holds at least half; overlap: IoU of the crops of an image; shared objectness: object "
        "pixels in the intersection of the two views."
    )


def _percent(value: dict[str, Any], plain: bool = False) -> str:
    if value["mean"] is None:
        return "-"
    mean = f"{100 * value['mean']:.1f}"
    return mean if plain or value["ci95"] is None else f"{mean} ±{100 * value['ci95']:.1f}"
