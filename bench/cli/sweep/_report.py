"""What a sweep prints: its plan at the start, and its winner at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli._table import print_json
from bench.core.redact import redact_url

if TYPE_CHECKING:
    from bench.core.params import Runtime
    from bench.results.views.studies import TrialRow, Winner
    from bench.sweep.setup import Setup
    from bench.sweep.study import Sweep

Say = Callable[[str], None]


def introduce(sweep: Sweep, runtime: Runtime, parallel: int, say: Say) -> None:
    """Print what will be done."""
    say(f"study {sweep.name} in {redact_url(runtime.database)}")
    describe(sweep.setup, parallel, say)


def describe(setup: Setup, parallel: int, say: Say) -> None:
    """Print what a sweep searches, how, and every choice that was made without being asked for."""
    from bench.sweep.setup import MANY

    cell = setup.cells[0]
    seeds = ", ".join(str(c.seed) for c in setup.cells)
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
        f"of {cell.task_data}; the best is scored on the test images once"
    )
    count = "any number of" if setup.trials >= MANY else setup.trials
    say(f"  sampler {setup.sampler}, pruner {setup.pruner}, {count} trials, {parallel} at a time")


def print_trials(setup: Setup) -> None:
    """The commands of a grid's trials; where values are drawn, nobody knows them yet."""
    if not setup.grid:
        click.echo(f"the values of the trials are drawn by {setup.sampler} while they run")
        return
    for point in setup.points():
        for cell in setup.trial(point):
            click.echo(cell.command())


def finish(
    sweep: Sweep, runtime: Runtime, paths: Mapping[str, Path | None], as_json: bool, say: Say
) -> int:
    """Score the winner and print the result; returns the exit code."""
    from bench.api.sweeping import conclude
    from bench.results.views.trials import describe_decision, format_params, format_score

    result = conclude(sweep, runtime, paths)
    for row in result.failed:
        click.echo(
            f"bench: trial {row['number']} ({format_params(row['params'])}): {row['reason']}",
            err=True,
        )
    best, setup = result.best, sweep.setup
    if best is None:
        say("no trial is complete yet; the same command goes on")
        return 1
    if result.unfinished:
        say("the time is over, but trials are left: the same command goes on")
    decision = result.decision
    assert decision is not None  # there is a best trial
    if as_json:
        print_json(
            {
                "study": result.study,
                "trials": result.trials,
                "winner": result.winner,
                "verdict": decision.verdict,
                "rivals": [t["number"] for t in decision.rivals],
                "importances": result.importances,
            }
        )
        return 1 if result.failed else 0
    _print_plots(result.trials, setup, result.importances)
    score = format_score(best["value"], best["ci95"])
    say(f"\nbest value: {describe_decision(decision)}")
    say(f"highest mean: {format_params(best['params'])}, validation {setup.headline} {score}")
    _print_commands(sweep, best, result.winner)
    return 1 if result.failed else 0


def _print_plots(rows: list[TrialRow], setup: Setup, shares: Mapping[str, float]) -> None:
    from bench.sweep.report import describe_spread, plot

    for space in setup.spaces:
        click.echo("\n" + "\n".join(plot(rows, space.name, setup.headline)))
    for line in describe_spread(rows):
        click.echo(line)
    if len(shares) > 1:
        click.echo("importance: " + ", ".join(f"{k} {v:.0%}" for k, v in shares.items()))


def _for_all_seeds(sweep: Sweep, command: str) -> str:
    """The command of the first seed's cell, for all seeds."""
    seeds = [str(c.seed) for c in sweep.setup.cells]
    return command.replace(f" --seeds {seeds[0]} ", f" --seeds {','.join(seeds)} ")


def _print_commands(sweep: Sweep, best: TrialRow, winner: Winner | None) -> None:
    """Commands to reproduce, to show and to go on."""
    from bench.sweep.report import format_winner

    if winner:
        click.echo(f"test: {format_winner(sweep.setup.headline, winner['scores'])}")
        click.echo(f"reproduce: {_for_all_seeds(sweep, winner['commands'][0])}")
    click.echo(f"its trial, {best['number']}: {_for_all_seeds(sweep, best['commands'][0])}")
    click.echo("  " + "   ".join(f"bench show {k[:12]}" for k in best["cells"]))
    click.echo(
        f"go on: bench sweep --study {sweep.name}   (with --param NAME=VALUES for other values)"
    )
    click.echo("look at it: bench dashboard; optuna-dashboard, given the database's URL")
