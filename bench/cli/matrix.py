"""bench matrix: a whole product of methods, crops, tasks and seeds, each stage once."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from bench.cli._config import config_options
from bench.cli._options import (
    CROP,
    CROP_HELP,
    DRY_RUN,
    JSON,
    METHOD,
    PROBE,
    TASK,
    launcher_options,
    setting_options,
)
from bench.cli._table import echo_prose, print_json
from bench.cli._tracking import take_tracking, tracker_options
from bench.cli._verb import renamed_options

if TYPE_CHECKING:
    from bench.api.running import Results
    from bench.plan.cell import PlannedCell


@click.command(cls=renamed_options(methods="method", crops="crop", tasks="task"))
@config_options
@METHOD(
    required=True,
    help="Methods, as names or globs separated by commas, for example byol,moco*, or all.",
)
@CROP(required=True, help=f"{CROP_HELP} all is every one.")
@TASK(
    required=True,
    help="Tasks, as names or globs separated by commas, for example coco_det,voc07_*, or all.",
)
@DRY_RUN()
@click.option(
    "--retry",
    type=click.Choice(["failed"]),
    help="Which cells to run again: failed means those that failed before.",
)
@JSON(help="Print every cell and its state as JSON instead of as text.")
@setting_options
@launcher_options
@PROBE()
@tracker_options
def command(
    method: str,
    crop: str,
    task: str,
    dry_run: bool,
    retry: str | None,
    as_json: bool,
    devices: int | str,
    workers: int,
    launcher: str,
    max_parallel: int,
    ray_address: str,
    probe: tuple[str, ...],
    slurm: str,
    **options: Any,
) -> None:
    """Run every method x crop x task x seed, each stage once.

    Pairs that cannot work are left out with the reason, and a cell that fails does not stop the
    others. The same command again goes on where this one stopped, without the cells that failed
    unless --retry failed is given. Several of these commands may run at the same time on one
    BENCH_HOME. For example:

    \b
    bench matrix --method byol,orl --crop all --task voc07_svm,knn --seeds 0-2
    """
    from bench.api.request import Request, make_runtime
    from bench.api.running import run_request
    from bench.cli.run import describe_results, exit_code, print_commands

    runtime = make_runtime(
        {
            "devices": devices,
            "workers": workers,
            "launcher": launcher,
            "max_parallel": max_parallel,
            "ray_address": ray_address,
            "probe": probe,
            **take_tracking(options, "matrix"),
            "slurm": slurm,
        }
    )
    request = Request(method, crop, task, **options)
    if dry_run:
        absent: dict[str, str] = {}
        return print_commands(request.plan(runtime, absent), absent)
    results = run_request(request, runtime, skip_failed=not retry)
    if as_json:
        print_json(describe_results(results))
    else:
        print_summary(results)
    sys.exit(exit_code(results))


def print_summary(results: Results) -> None:
    """The scores, then counts of every state, and each reason once with the number of cells that
    it stopped."""
    from bench.cli.leaderboard import print_rows

    states = [(planned, results.state(planned)) for planned in results.plan.cells]
    done = [c.final.key for c, (state, _) in states if state == "done" and c.final]
    if done and results.database:
        print_rows(results.database.read_rows_of(set(done)))
    for state in ("unsupported", "failed", "left out"):
        for line in _reasons((c, why) for c, (s, why) in states if s == state):
            echo_prose(f"{state}: {line}", "  ", "", err=state != "unsupported")
    counts = Counter(state for _, (state, _) in states)
    parts = [
        f"{counts[s]} {s}" for s in ("done", "failed", "left out", "unsupported") if counts[s]
    ]
    outcome = results.outcome
    echo_prose(
        f"{len(states)} cell(s): {', '.join(parts)}; {len(outcome.made)} stage(s) made, "
        f"{len(outcome.reused)} reused, in {outcome.seconds:.0f} s"
    )
    if counts["left out"]:
        click.echo(
            "cells that failed before were left out; to run them again, add: --retry failed"
        )


def _reasons(cells: Iterable[tuple[PlannedCell, str | None]]) -> list[str]:
    """`who (n cells): reason`, once for each reason of a method; `who` is what those cells have in
    common."""
    groups: dict[tuple[str, str], list[PlannedCell]] = {}
    for planned, why in cells:
        groups.setdefault((planned.cell.method, why or "no reason given"), []).append(planned)
    lines = []
    for (method, why), group in groups.items():
        crops, tasks = ({getattr(p.cell, n) for p in group} for n in ("crop", "task"))
        common = [method, *(sorted(s)[0] for s in (crops, tasks) if len(s) == 1)]
        lines.append(
            f"{' x '.join(common)} ({len(group)} cell{'s' if len(group) > 1 else ''}): {why}"
        )
    return lines
