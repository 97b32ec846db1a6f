"""bench perf: ratios to the plain way of doing the same, timed in turns in one run; what trainings
learn."""

from __future__ import annotations

import click

from bench.cli._learning import learning
from bench.cli._perf_crops import crops
from bench.cli._perf_eval import evaluation
from bench.cli._perf_plan import time_planning
from bench.cli._perf_train import train


@click.group()
def command() -> None:
    """Measure speed as a ratio to the plain way, in one run.

    Ratios within a table can be trusted, absolute figures depend on what else the machine does.
    """


for verb in (crops, train, evaluation, learning, time_planning):
    command.add_command(verb)
