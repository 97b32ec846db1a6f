"""bench delete: a stage, and the results that it has."""

from __future__ import annotations

import sys

import click

from bench.cli._complete import Key
from bench.cli._options import JSON
from bench.cli._table import print_json
from bench.core.errors import BadInput


@click.command()
@click.argument("key", type=Key())
@click.option("--yes", is_flag=True, help="Delete without asking.")
@JSON()
def command(key: str, yes: bool, as_json: bool) -> None:
    """Delete the stage whose key starts with KEY: its folder, its cell, results, note and tags.

    A stage that others are made from is refused: delete those first. bench gc frees disk space
    without a loss of results.
    """
    from bench.api.journal import delete, find_target

    target = find_target(key)
    where = target.folder or "not in the store"
    click.echo(f"{target.name}: {target.size / 2**20:.1f} MiB {where}", err=as_json)
    if target.cell:
        cell = target.cell
        click.echo(
            f"cell: {cell['method']} x {cell['crop']} x {cell['task']} seed {cell['seed']}, "
            f"{cell['state']}; with its results",
            err=as_json,
        )
    if not yes:
        if not sys.stdin.isatty():
            raise BadInput("bench delete asks before it deletes; without a terminal, add: --yes")
        click.confirm("Delete it for good?", abort=True, err=as_json)
    delete(target)
    if as_json:
        return print_json({"key": target.key, "bytes": target.size})
    click.echo("deleted")
