"""bench sweep: the best value of a setting, chosen on validation images, scored on the test images
once."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli._common import (
    Names,
    ScaleName,
    devices_option,
    make_cells,
    open_runtime,
    print_json,
)
from bench.core.errors import BadInput

if TYPE_CHECKING:
    from bench.core.params import Runtime
    from bench.results.views.studies import TrialRow, Winner
    from bench.sweep.setup import Setup
    from bench.sweep.study import Sweep

SEARCH = {"params", "sampler", "pruner", "trials", "timed"}  # options that change a known study
# options that may come with --study alone: where this machine has the data
MORE = ("data", "task_data")
HOLDOUT = 0.2


@click.command()
@click.option(
    "--param",
    "-p",
    "params",
    multiple=True,
    metavar="NAME[=VALUES]",
    help="A setting: n_crops, n_crops=1,3,5, delta=0.0:0.3, lr=log:1e-3:1, byol.lr=0.1,0.2. May be repeated.",
)
@click.option("--method", "-m", type=Names("method"))
@click.option("--crop", "-c", type=Names("crop"))
@click.option("--backbone", "-b", metavar="NAME|weights=FILE")
@click.option("--task", "-t", type=Names("task"))
@click.option("--scale", "-s", type=ScaleName(), help="tiny unless told.")
@click.option("--seeds", help="The score of a trial is the mean over them; 0 unless told.")
@click.option("--data", type=Names("data"), help="Pretraining data: NAME or NAME=PATH.")
@click.option("--task-data", type=Names("data"), help="The task's data: NAME or NAME=PATH.")
@click.option(
    "--set", "sets", multiple=True, metavar="KEY=VALUE", help="Override a setting in all trials."
)
@click.option(
    "--precision", type=click.Choice(["fp32", "bf16"]), help="Of the method's pretraining."
)
@click.option(
    "--sampler", default="auto", show_default=True, help="grid, tpe, random, cmaes, qmc or gp."
)
@click.option(
    "--pruner", default="auto", show_default=True, help="none, median, halving or hyperband."
)
@click.option("--trials", type=click.IntRange(1), help="How many; all points of a grid, else 20.")
@click.option("--timeout", help="Begin no trial after 90 (seconds), 30m or 2h.")
@click.option(
    "--holdout",
    type=click.FloatRange(0.01, 0.5),
    help="Share of validation images; 0.2 unless told.",
)
@click.option(
    "--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="Trials at a time."
)
@click.option(
    "--loaders",
    default=2,
    show_default=True,
    type=click.IntRange(0, 256),
    help="Of each training.",
)
@click.option(
    "--devices", default="auto", show_default=True, help="Of each training, as in bench run."
)
@click.option("--study", help="Name it; alone: go on with it, on this or another machine.")
@click.option("--json", "as_json", is_flag=True, help="The trials and the winner as JSON.")
@click.option("--worker-of", type=int, hidden=True)
@click.option("--until", type=float, default=float("inf"), hidden=True)
def command(
    timeout: str | None,
    workers: int,
    loaders: int,
    devices: str,
    study: str | None,
    as_json: bool,
    worker_of: int | None,
    until: float,
    **options: Any,
) -> None:
    """Find the best value of a setting on validation images; score it on the test images once.

    bench sweep --param n_crops needs nothing else. The same command again reuses what is done and
    goes on. Every trial is an ordinary cell that bench show knows.
    """
    from bench.core.signals import listen_for_stop

    runtime = open_runtime(devices=devices_option(devices), workers=loaders)
    if worker_of is not None:
        with listen_for_stop(at_once=True):
            _work(runtime, str(study), options, worker_of, until)
        return
    until = min(until, time.time() + seconds(timeout))
    sweep, paths = _open(runtime, study, {**options, "timed": timeout is not None})
    say = click.echo if not as_json else _quiet
    _introduce(sweep, runtime, workers, say)
    with listen_for_stop(at_once=True):
        _drive(sweep, runtime, workers, until, options, as_json)
    sys.exit(_finish(sweep, runtime, paths, as_json, say))


def _quiet(text: str) -> None:
    click.echo(text, err=True)


def seconds(text: str | None) -> float:
    """`90`, `90s`, `30m`, `2h`, `1d`."""
    if text is None:
        return float("inf")
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip())
    if not found:
        raise BadInput(f"--timeout is a time, got {text!r}; try: --timeout 30m")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]]


def _open(
    runtime: Runtime, study: str | None, options: dict[str, Any]
) -> tuple[Sweep, dict[str, Path | None]]:
    """The sweep of the options, or the study of that name alone; and where the data are."""
    from bench.sweep.setup import change_setup, name_study
    from bench.sweep.study import Sweep

    given = {k for k, v in options.items() if v and v != "auto" and k not in MORE}
    if (
        study
        and not given - SEARCH
        and (not options["params"] or Sweep.exists(runtime.database, study))
    ):
        sweep = Sweep.load(runtime.database, study)
        if given - {"timed"}:
            setup = change_setup(sweep.setup, **{k: options[k] for k in SEARCH})
            sweep = Sweep.start(runtime.database, study, setup)
        return sweep, _places(options)
    if not options["params"]:
        raise BadInput(
            "--param is missing; try: bench sweep --param n_crops, or bench list params NAME"
        )
    setup, paths = _setup(runtime, options)
    return Sweep.start(runtime.database, study or name_study(setup), setup), paths


def _places(options: Mapping[str, Any]) -> dict[str, Path | None]:
    from bench.plan.options import parse_data

    found = dict(parse_data(options[name]) for name in MORE)
    return {name: path for name, path in found.items() if name and path}


def _setup(runtime: Runtime, options: dict[str, Any]) -> tuple[Setup, dict[str, Path | None]]:
    from bench.contracts import registry
    from bench.sweep.setup import Setup, choose_crop, choose_search, resolve, seal_setup

    scale, weights = options["scale"] or "tiny", "=" in (options["backbone"] or "")
    if weights and not options["task"]:
        raise BadInput("--task is missing; try: bench list tasks")
    named = {kind: options[kind] for kind in ("method", "crop", "task")}
    owned, chosen, notes = resolve(options["params"], scale, named, pretrains=not weights)
    sampler, pruner, trials = choose_search(
        [o.space for o in owned],
        options["sampler"],
        options["pruner"],
        options["trials"],
        options["timed"],
    )
    places: dict[str, Path | None] = {}

    def made(crop: str | None) -> Setup:
        cells, paths = make_cells(
            chosen.get("method"),
            crop,
            chosen["task"],
            scale,
            options["seeds"] or "0",
            options["data"],
            options["task_data"],
            options["sets"],
            options["backbone"],
            options["precision"],
        )
        places.update(paths)
        headline = registry.load("task", chosen["task"]).headline  # type: ignore[attr-defined]
        spaces = tuple(o.space for o in owned)
        setup = Setup(
            tuple(cells),
            spaces,
            options["holdout"] or HOLDOUT,
            headline,
            sampler,
            pruner,
            trials,
            "",
            (*notes, *(f"{o.name}: the values its field declares" for o in owned if o.declared)),
        )
        return seal_setup(setup, runtime, paths)

    if weights:
        return made(chosen.get("crop")), places
    return made(choose_crop(owned, chosen, lambda crop: _works(made, crop))), places


def _works(made: Any, crop: str) -> bool:
    try:
        made(crop)
    except BadInput:
        return False
    return True


def _introduce(sweep: Sweep, runtime: Runtime, workers: int, say: Any) -> None:
    """What will be done, and every choice that was not asked for."""
    from sqlalchemy.engine import make_url

    from bench.sweep.setup import MANY

    setup, cell = sweep.setup, sweep.setup.cells[0]
    seeds = ", ".join(str(c.seed) for c in setup.cells)
    say(f"study {sweep.name} in {make_url(runtime.database).render_as_string(hide_password=True)}")
    for space in setup.spaces:
        say(f"  {space.name}: {space}")
    say(
        f"  method {cell.method}, crop {cell.crop}, task {cell.task}, scale {cell.scale}, seeds "
        f"{seeds}"
    )
    for note in setup.notes:
        say(f"  {note}")
    say(
        f"  score: {setup.headline} of {cell.task} on {setup.holdout:.0%} of the training images "
        "of "
        f"{cell.task_data}; the best is scored on the test images once"
    )
    count = "any number of" if setup.trials >= MANY else setup.trials
    say(f"  sampler {setup.sampler}, pruner {setup.pruner}, {count} trials, {workers} worker(s)")


def _drive(
    sweep: Sweep,
    runtime: Runtime,
    workers: int,
    until: float,
    options: Mapping[str, Any],
    quiet: bool,
) -> None:
    from bench.launch.launchers import gpu_groups
    from bench.sweep.drive import Pool

    def start(number: int) -> list[str]:
        code = "from bench.cli import main; main()"
        more = [
            x
            for name in MORE
            if options[name]
            for x in (f"--{name.replace('_', '-')}", options[name])
        ]
        return [
            sys.executable,
            "-c",
            code,
            "sweep",
            "--study",
            sweep.name,
            *more,
            "--devices",
            str(runtime.devices),
            "--loaders",
            str(runtime.workers),
            "--worker-of",
            str(os.getpid()),
            "--until",
            str(until),
        ]

    logs = runtime.home / "sweeps" / sweep.name
    pool = Pool(sweep, workers, start, logs, until, gpu_groups(runtime))
    screen = _Screen(sweep.setup, quiet)
    with screen:
        pool.run(screen.show)


class _Screen:
    """A live table in a terminal; elsewhere a line for every trial that ends."""

    def __init__(self, setup: Setup, quiet: bool) -> None:
        from rich.console import Console
        from rich.live import Live

        self.setup = setup
        self.console = Console(stderr=True)
        self.live = (
            Live(console=self.console, refresh_per_second=2) if self.console.is_terminal else None
        )
        self.told: set[int] = set()
        self.context: Any = self.live or nullcontext()

    def __enter__(self) -> None:
        self.context.__enter__()

    def __exit__(self, *error: Any) -> None:
        self.context.__exit__(*error)

    def show(self, rows: list[TrialRow], doing: dict[str, str]) -> None:
        from bench.results.views.trials import format_score
        from bench.sweep.report import format_params, make_table

        if self.live is not None:
            self.live.update(make_table(rows, self.setup, doing))
            return
        for row in rows:
            if row["state"] in ("complete", "pruned", "fail") and row["number"] not in self.told:
                self.told.add(row["number"])
                how = row["reason"] or ("reused" if row["made"] == 0 else row["state"])
                score = format_score(row["value"], row["ci95"])
                click.echo(
                    f"trial {row['number']}: {format_params(row['params'])}: {score} ({how})",
                    err=True,
                )


def _work(
    runtime: Runtime, study: str, options: Mapping[str, Any], driver: int, until: float
) -> None:
    from bench.cli._common import local_engine
    from bench.sweep.drive import follow
    from bench.sweep.study import Sweep
    from bench.sweep.work import Work

    follow(driver)
    sweep = Sweep.load(runtime.database, study)
    with local_engine(runtime) as (engine, _):
        Work(sweep, runtime, _places(options), engine.listener, engine.progress, until).run()


def _finish(
    sweep: Sweep, runtime: Runtime, paths: Mapping[str, Path | None], as_json: bool, say: Any
) -> int:
    """Score the winner, say what was found; the exit code."""
    from bench.results.views.studies import (
        compute_importances,
        describe_trial,
        find_best,
        is_lost,
    )
    from bench.results.views.trials import format_score
    from bench.sweep.report import format_params

    rows = [describe_trial(t) for t in sweep.trials() if not is_lost(t)]
    failed = [r for r in rows if r["state"] == "fail"]
    for row in failed:
        click.echo(
            f"bench: trial {row['number']} ({format_params(row['params'])}): {row['reason']}",
            err=True,
        )
    best, setup = find_best(rows), sweep.setup
    if best is None:
        say("no trial is complete; the same command goes on")
        return 1
    if sweep.left():
        say("the time is over but trials are left: the same command goes on")
    winner = _winner(sweep, best["params"], runtime, paths)
    shares = compute_importances(sweep.study)
    if as_json:
        print_json({"study": sweep.name, "trials": rows, "winner": winner, "importances": shares})
        return 1 if failed else 0
    _plots(rows, setup, shares)
    score = format_score(best["value"], best["ci95"])
    say(f"\nbest: {format_params(best['params'])}, validation {setup.headline} {score}")
    _where(sweep, best, winner)
    return 1 if failed else 0


def _winner(
    sweep: Sweep, values: Mapping[str, Any], runtime: Runtime, paths: Mapping[str, Path | None]
) -> Winner:
    """The chosen configuration as ordinary cells, scored on the test images; kept with the study."""
    from bench.cli._common import local_engine
    from bench.core.statistics import summarise
    from bench.results.views.studies import WINNER
    from bench.sweep.work import evaluate_winner

    with local_engine(runtime) as (engine, _):
        plan, scores = evaluate_winner(sweep, values, runtime, paths, engine)
    made: Winner = {
        "values": dict(values),
        "cells": [c.final.key for c in plan.cells if c.final],
        "commands": [c.cell.command() for c in plan.cells],
        "scores": scores,
        "test": summarise(scores),
    }
    if sweep.study.user_attrs.get(WINNER) != made:
        sweep.study.set_user_attr(WINNER, made)
    return made


def _plots(rows: list[TrialRow], setup: Setup, shares: Mapping[str, float]) -> None:
    from bench.sweep.report import describe_spread, plot

    for space in setup.spaces:
        click.echo("\n" + "\n".join(plot(rows, space.name, setup.headline)))
    for line in describe_spread(rows):
        click.echo(line)
    if len(shares) > 1:
        click.echo("importance: " + ", ".join(f"{k} {v:.0%}" for k, v in shares.items()))


def _all_seeds(sweep: Sweep, command: str) -> str:
    """The command of the first seed's cell, for all seeds."""
    seeds = [str(c.seed) for c in sweep.setup.cells]
    return command.replace(f" --seeds {seeds[0]} ", f" --seeds {','.join(seeds)} ")


def _where(sweep: Sweep, best: TrialRow, winner: Winner | None) -> None:
    """Commands to reproduce, to show and to go on."""
    from bench.sweep.report import format_winner

    if winner:
        click.echo(f"test: {format_winner(sweep.setup.headline, winner['scores'])}")
        click.echo(f"reproduce: {_all_seeds(sweep, winner['commands'][0])}")
    click.echo(f"its trial, {best['number']}: {_all_seeds(sweep, best['commands'][0])}")
    click.echo("  " + "   ".join(f"bench show {k[:12]}" for k in best["cells"]))
    click.echo(
        f"go on: bench sweep --study {sweep.name}   with other values: --param NAME=VALUES as well"
    )
    click.echo("look at it: bench dashboard; optuna-dashboard, given the database's URL")
