"""bench crops stats: where every strategy crops, in numbers."""

from __future__ import annotations

import csv
import sys
from typing import TYPE_CHECKING, Any

import click

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
from bench.cli._verb import renamed_options

if TYPE_CHECKING:
    from bench.api.crops import CropRow

COLUMNS = ("objectness", "poor", "coarse", "precise", "coverage", "overlap", "shared_objectness")


@click.command(cls=renamed_options(source="objects", seeds="epochs"))
@CROP(default="all", show_default=True)
@IMAGES_DATA()
@SPLIT()
@click.option(
    "--objects",
    type=click.Choice(["boxes", "masks"]),
    default="boxes",
    show_default=True,
    help="What counts as the pixels of an object.",
)
@click.option(
    "--epochs",
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
    objects: str,
    epochs: int,
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
    from bench.api.crops import measure_crops
    from bench.api.request import make_runtime

    runtime = make_runtime({"devices": devices, "workers": workers})
    measured = measure_crops(
        crop,
        data,
        split,
        objects,
        epochs,
        image_objectness,
        scale,
        sets,
        runtime,
        say_left_out,
    )
    rows = measured.rows
    if as_json:
        print_json(rows)
    elif as_csv:
        _write_csv(rows)
    elif rows:
        title = f"{data.partition('=')[0]} {split}, objects by {objects}"
        weighed = (
            f", images weighed to {image_objectness:g} %" if image_objectness is not None else ""
        )
        _print(rows, title + weighed)
    for reason, names in measured.failed.items():
        click.echo(f"bench: {', '.join(names)}: {reason}", err=True)
    sys.exit(max((error.exit_code for error in measured.errors), default=0))


def _write_csv(rows: list[CropRow]) -> None:
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


def _print(rows: list[CropRow], title: str) -> None:
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
