"""bench note: a note on a cell."""

from __future__ import annotations

import click

from bench.cli._complete import Key
from bench.cli._options import JSON
from bench.cli._table import print_json


@click.command()
@click.argument("key", type=Key("evaluate"))
@click.argument("text")
@JSON()
def command(key: str, text: str, as_json: bool) -> None:
    """Write the note TEXT on the cell whose key starts with KEY, in place of an older one.

    An empty TEXT takes the note away. bench runs shows notes. For example:

    \b
    bench note 3fa9c1d2 "the learning rate was too high"
    """
    from bench.api.journal import write_note

    cell = write_note(key, text)
    if as_json:
        return print_json({"key": cell["label"], "note": text})
    click.echo(f"{'noted' if text else 'note removed'}: {cell['label'][:12]}")
