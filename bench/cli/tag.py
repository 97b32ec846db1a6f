"""bench tag: tags of a cell."""

from __future__ import annotations

import click

from bench.cli._complete import Key
from bench.cli._options import JSON
from bench.cli._table import print_json


@click.command()
@click.argument("key", type=Key("evaluate"))
@click.argument("tags", nargs=-1, required=True, metavar="TAG...")
@click.option("--remove", is_flag=True, help="Take the tags away instead.")
@JSON()
def command(key: str, tags: tuple[str, ...], remove: bool, as_json: bool) -> None:
    """Tag the cell whose key starts with KEY; bench runs --tag TAG lists what has a tag."""
    from bench.api.journal import change_tags

    now = change_tags(key, remove=tags) if remove else change_tags(key, add=tags)
    if as_json:
        return print_json({"tags": now})
    click.echo(f"tags: {', '.join(now) or 'none'}")
