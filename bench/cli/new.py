"""bench new: a component to start from."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("kind", type=click.Choice(["method", "crop", "task", "data"]))
@click.argument("name")
@click.option(
    "--package",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder to write an installable package to, with an entry point and tests. If it is one "
    "already, the component is added to it.",
)
def command(kind: str, name: str, package: Path | None) -> None:
    """Write component NAME to start from; it works and passes bench check.

    Without --package it goes to its place in a checkout of bench, where you run the command. For
    example:

    \b
    bench new crop quarters --package mylab
    pip install -e mylab
    bench check crop:quarters
    """
    from bench.api.scaffold import new_component

    for path in new_component(kind, name, package):
        click.echo(path)
    if package is not None:
        click.echo(f"next: pip install -e {package}, then: bench check {kind}:{name}")
    else:
        click.echo(f"next: bench check {kind}:{name}")
