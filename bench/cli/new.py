"""bench new: a component to start from."""

from __future__ import annotations

from pathlib import Path

import click

from bench.cli._options import JSON
from bench.cli._table import print_json


@click.command()
@click.argument("kind", type=click.Choice(["method", "crop", "task", "data"]))
@click.argument("name")
@click.option(
    "--package",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write an installable package to, with an entry point and tests. If it is one "
    "already, the component is added to it.",
)
@JSON()
def command(kind: str, name: str, package: Path | None, as_json: bool) -> None:
    """Write component NAME to start from; it works and passes bench check.

    Without --package it goes to its place in a checkout of bench, where you run the command. For
    example:

    \b
    bench new crop quarters --package mylab
    pip install -e mylab
    bench check crop:quarters
    """
    from bench.api.scaffold import new_component

    paths = new_component(kind, name, package)
    if as_json:
        return print_json({"files": [str(path) for path in paths]})
    for path in paths:
        click.echo(path)
    if package is not None:
        click.echo(f"next: pip install -e {package}, then: bench check {kind}:{name}")
    else:
        click.echo(f"next: bench check {kind}:{name}")
