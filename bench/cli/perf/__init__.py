"""bench perf: how fast our ways are beside the usual ones, and what trainings learn."""

from __future__ import annotations

import click

from bench.cli.perf.crops import crops
from bench.cli.perf.evaluation import evaluation
from bench.cli.perf.learning import learning
from bench.cli.perf.planning import time_planning
from bench.cli.perf.training import train


@click.group()
def command() -> None:
    """Measure speed as a ratio to the usual way of doing the same, and what methods learn.

    Both ways are timed in turns in one run, so that their ratio can be trusted; absolute times
    depend on what else the machine does.
    """


for verb in (crops, train, evaluation, learning, time_planning):
    command.add_command(verb)
