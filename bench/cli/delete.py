"""bench delete: a stage, and the results that it has."""

from __future__ import annotations

import sys

import click

from bench.cli._complete import Key
from bench.core.errors import BadInput


@click.command()
@click.argument("key", type=Key())
@click.option("--yes", is_flag=True, help="Delete without asking.")
def command(key: str, yes: bool) -> None:
    """Delete the stage whose key starts with KEY: its folder, its cell, results, note and tags.

    A stage that others are made from is refused: delete those first. bench gc frees disk space
    without a loss of results.
    """
    from bench.api.journal import delete, find_target

    target = find_target(key)
    where = target.folder or "not in the store"
    click.echo(f"{target.name}: {target.size / 2**20:.1f} MiB {where}")
    if target.cell:
        cell = target.cell
        click.echo(
            f"cell: {cell['method']} x {cell['crop']} x {cell['task']} seed {cell['seed']}, "
            f"{cell['state']}; with its results"
        )
    if not yes:
        if not sys.stdin.isatty():
            raise BadInput("bench delete asks before it deletes; without a terminal, add: --yes")
        click.confirm("Delete it for good?", abort=True)
    delete(target)
    click.echo("deleted")
