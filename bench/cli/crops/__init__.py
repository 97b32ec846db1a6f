"""bench crops: where every strategy crops, in numbers and in pictures."""

from __future__ import annotations

import click

from bench.cli.crops.recall import recall
from bench.cli.crops.show import show
from bench.cli.crops.stats import stats


@click.group()
def command() -> None:
    """Measure and draw where every strategy crops."""


for verb in (stats, show, recall):
    command.add_command(verb)
