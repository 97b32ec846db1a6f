"""bench crops show: where every strategy crops one image, as a picture."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli._engine import open_engine
from bench.cli._options import (
    CROP,
    IMAGES_DATA,
    JSON,
    SCALE,
    SET,
    device_options,
    say_left_out,
)
from bench.cli._table import print_json
from bench.launch.session import open_runtime


@click.command()
@click.argument("image")
@CROP(default="all", show_default=True)
@IMAGES_DATA(
    help="Data that IMAGE is an id of, for example coco=/data/coco. Where IMAGE is a file: data "
    "that the networks of crop strategies learn from."
)
@SCALE()
@SET()
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default="crops.png",
    show_default=True,
    help="File to write, a PNG.",
)
@click.option(
    "--width",
    default=360,
    show_default=True,
    type=click.IntRange(64, 4096),
    help="Width of each panel in pixels.",
)
@device_options
@JSON()
def show(
    image: str,
    crop: str,
    data: str,
    scale: str,
    sets: tuple[str, ...],
    out: Path,
    width: int,
    devices: int | str,
    workers: int,
    as_json: bool,
) -> None:
    """Draw the crops of every strategy on one image.

    IMAGE is a file, or the id of an image of --data.
    """
    from bench.core.picture import save_png
    from bench.figures.crop_panels import picture
    from bench.plan.product import make_crop_cells

    runtime = open_runtime(devices=devices, workers=workers)
    cells, paths = make_crop_cells(crop, data, scale, sets, say_left_out)
    file = Path(image)
    with open_engine(runtime) as (engine, _):
        drawn, left_out = picture(
            cells, runtime, paths, engine, file if file.is_file() else image, width
        )
    save_png(out, drawn)
    if as_json:
        shown = [cell.crop for cell in cells if cell.crop not in left_out]
        return print_json({"file": str(out), "crops": shown, "left_out": left_out})
    for name, reason in left_out.items():
        click.echo(f"left out: {name}: {reason}", err=True)
    click.echo(
        f"{out}: {len(cells) - len(left_out)} strategies, {drawn.shape[1]} x {drawn.shape[0]} "
        "pixels"
    )
