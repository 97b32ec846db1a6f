"""bench sweep: the best value of a setting, chosen on validation images, scored on the test images
once."""

from __future__ import annotations

import re
import sys
import time
from typing import Any

import click

from bench.api.studies import HOLDOUT, make_setup, open_study
from bench.cli._options import (
    BACKBONE,
    CROP,
    DEVICES,
    DRY_RUN,
    JSON,
    METHOD,
    PRECISION,
    PRETRAIN_DATA,
    SCALE,
    SEEDS,
    SET,
    TASK,
    TASK_DATA,
    WORKERS,
)
from bench.cli._tracking import take_tracking, tracker_options
from bench.core.errors import BadInput
from bench.launch.session import open_runtime


@click.command()
@click.option(
    "--param",
    "-p",
    "params",
    multiple=True,
    metavar="NAME[=VALUES]",
    help="Setting to search; may be repeated. VALUES are a list, a range, or a range on a "
    "logarithmic scale, for example n_crops=1,3,5, delta=0.0:0.3 or byol.lr=log:1e-3:1. NAME "
    "alone takes the values that its field declares.",
)
@METHOD()
@CROP()
@BACKBONE()
@TASK()
@SCALE(default=None, show_default="tiny")
@SEEDS(
    default=None,
    show_default="0",
    help="Seeds to run, for example 0,1 or 0-4. The score of a trial is the mean over them.",
)
@PRETRAIN_DATA()
@TASK_DATA()
@SET()
@PRECISION()
@click.option(
    "--sampler",
    default="auto",
    show_default=True,
    help="How values are chosen: grid, tpe, random, cmaes, qmc or gp.",
)
@click.option(
    "--pruner",
    default="auto",
    show_default=True,
    help="Which trials are stopped early: none, median, halving or hyperband.",
)
@click.option(
    "--trials",
    type=click.IntRange(1),
    help="Number of trials. The default is every point of a grid, otherwise 20.",
)
@click.option(
    "--timeout", help="Time after which no trial is begun, for example 90 (seconds), 30m or 2h."
)
@click.option(
    "--holdout",
    type=click.FloatRange(0.01, 0.5),
    show_default=str(HOLDOUT),
    help="Share of the training images that trials are scored on.",
)
@click.option(
    "--parallel",
    default=1,
    show_default=True,
    type=click.IntRange(1, 64),
    help="Number of trials at the same time, each in a process of its own.",
)
@WORKERS(help="Processes that load images for each device of each trial.")
@click.option("--loaders", type=click.IntRange(0, 256), hidden=True)  # --workers until 0.1
@DEVICES()
@tracker_options
@click.option(
    "--study",
    help="Name of the study. Alone, go on with the study of that name, on this machine or on "
    "another one too.",
)
@DRY_RUN(help="Print what would be searched and the commands of the trials, and run nothing.")
@JSON(help="Print the trials and the winner as JSON instead of as text.")
@click.option("--worker-of", type=int, hidden=True)
@click.option("--until", type=float, default=float("inf"), hidden=True)
def command(
    timeout: str | None,
    parallel: int,
    workers: int,
    loaders: int | None,
    devices: int | str,
    study: str | None,
    dry_run: bool,
    as_json: bool,
    worker_of: int | None,
    until: float,
    **options: Any,
) -> None:
    """Find the best value of a setting on validation images; score it on the test images once.

    The same command again reuses what is done and goes on. Every trial is an ordinary cell, which
    bench show knows. For example, with everything else by default:

    \b
    bench sweep --param n_crops
    """
    from bench.api.sweeping import drive, work_on_trials
    from bench.cli.sweep._drive import show_trials
    from bench.cli.sweep._report import describe, finish, introduce, print_trials
    from bench.core.signals import listen_for_stop

    runtime = open_runtime(
        devices=devices,
        workers=workers if loaders is None else loaders,
        **take_tracking(options),
    )
    chosen: Any = {**options, "timed": timeout is not None}
    if worker_of is not None:
        with listen_for_stop(at_once=True):
            work_on_trials(runtime, str(study), chosen, worker_of, until)
        return
    if dry_run:
        setup, _ = make_setup(runtime, chosen)
        describe(setup, parallel, click.echo)
        return print_trials(setup)
    until = min(until, time.time() + parse_time(timeout))
    sweep, paths = open_study(runtime, study, chosen)
    say = click.echo if not as_json else _say_on_stderr
    introduce(sweep, runtime, parallel, say)
    with show_trials(sweep, parallel) as show:
        drive(sweep, runtime, parallel, until, chosen, show)
    sys.exit(finish(sweep, runtime, paths, as_json, say))


def _say_on_stderr(text: str) -> None:
    click.echo(text, err=True)


def parse_time(text: str | None) -> float:
    """Seconds of `90`, `90s`, `30m`, `2h`, `1d`."""
    if text is None:
        return float("inf")
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip())
    if not match:
        raise BadInput(f"--timeout is a time, got {text!r}; try: --timeout 30m")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]
