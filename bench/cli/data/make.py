"""bench data make: a small generated set in the layout of another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bench.cli._options import JSON
from bench.cli._table import print_json
from bench.contracts import registry
from bench.core.errors import BadInput
from bench.core.files import expand_path


@click.command()
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
@JSON()
def make(name: str, out: Path, train: int, val: int, seed: int, as_json: bool) -> None:
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
    if as_json:
        return print_json({"data": name, "path": str(place), "train": train, "val": val})
    click.echo(f"wrote generated images in the layout of {name}: {place}")
    click.echo(f"then: bench data check {name}={place}{more}")
