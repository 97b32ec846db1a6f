"""bench data: which data sets there are, how to get them, whether yours is whole, and your own
under a name. Nothing is downloaded."""

from __future__ import annotations

import click

from bench.cli.data.add import add, remove
from bench.cli.data.check import check, prepare
from bench.cli.data.make import make
from bench.cli.data.sets import list_sets
from bench.cli.data.split import split


@click.group()
def command() -> None:
    """List, check, prepare, split and name data sets. Nothing is ever downloaded."""


for verb in (list_sets, check, prepare, split, add, remove, make):
    command.add_command(verb)
