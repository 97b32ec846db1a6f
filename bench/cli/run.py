"""bench run: pretrain, transfer and score cells."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli._config import config_options
from bench.cli._options import (
    DRY_RUN,
    JSON,
    PROBE,
    cell_options,
    launcher_options,
)
from bench.cli._other_code import stages_line
from bench.cli._table import echo_prose, print_json
from bench.cli._tracking import take_tracking, tracker_options
from bench.cli._verb import Verb
from bench.core.redact import redact

if TYPE_CHECKING:
    from bench.api.running import Results
    from bench.core.stage import Stage
    from bench.core.store import Store
    from bench.plan.cell import Plan, PlannedCell


@click.command(cls=Verb)
@config_options
@cell_options
@launcher_options
@PROBE()
@tracker_options
@DRY_RUN()
@JSON(help="Print every cell and its state as JSON instead of as text.")
@click.option("--force", is_flag=True, help="Make every stage of the plan again.")
@click.option(
    "--threads",
    default=0,
    show_default=True,
    type=click.IntRange(0, 1024),
    help="PyTorch threads of a training step; 0 takes the cores that are free.",
)
@click.option(
    "--nodes",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Machines that train one network together. Run the same command on each, with "
    "NODE_RANK, MASTER_ADDR and MASTER_PORT in its environment.",
)
@click.option(
    "--accumulate",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="Parts that a step is computed in, one after another, to save memory. It is refused "
    "where it would change the result.",
)
@click.option(
    "--compile", is_flag=True, help="Compile the networks of pretrainings with torch.compile."
)
def command(
    dry_run: bool,
    as_json: bool,
    force: bool,
    devices: int | str,
    workers: int,
    threads: int,
    nodes: int,
    accumulate: int,
    compile: bool,
    launcher: str,
    max_parallel: int,
    ray_address: str,
    probe: tuple[str, ...],
    slurm: str,
    **options: Any,
) -> None:
    """Pretrain, transfer and score cells: method x crop x task x seed.

    The same command again reuses what is done, and goes on after Ctrl-C or a kill. For example:

    \b
    bench run --method orl --task coco_det
    bench run --method byol,moco_v2 --crop gt,image --task voc07_svm --seeds 0-2
    """
    from bench.api.request import Request, make_runtime
    from bench.api.running import run_request

    runtime = make_runtime(
        {
            "devices": devices,
            "workers": workers,
            "threads": threads,
            "nodes": nodes,
            "accumulate": accumulate,
            "compile": compile,
            "launcher": launcher,
            "max_parallel": max_parallel,
            "ray_address": ray_address,
            "probe": probe,
            **take_tracking(options),
            "slurm": slurm,
        },
        force,
    )
    request = Request(**options)
    if dry_run:
        absent: dict[str, str] = {}
        return print_commands(request.plan(runtime, absent), absent)
    results = run_request(request, runtime)
    if as_json:
        print_json(describe_results(results))
    else:
        _summary(results)
    sys.exit(exit_code(results))


def print_commands(plan: Plan, absent: Mapping[str, str]) -> None:
    """The command line of every cell that can be made; on stderr, how to get the data that they
    lack."""
    for planned in plan.cells:
        if planned.final:
            click.echo(planned.command())
    for name, how in absent.items():
        click.echo(f"bench: data {name} are not on this machine: {how}", err=True)


def describe_results(results: Results) -> dict[str, Any]:
    """What --json prints: every cell, counts of the states, the stages made and reused."""
    states = [(planned, results.state(planned)) for planned in results.plan.cells]
    cells = [
        {
            "method": p.cell.method,
            "crop": p.cell.crop,
            "task": p.cell.task,
            "scale": p.cell.scale,
            "seed": p.cell.seed,
            "overrides": dict(p.cell.overrides),
            "key": p.final.key if p.final else None,
            "state": state,
            "reason": why,
        }
        for p, (state, why) in states
    ]
    outcome = results.outcome
    return {
        "cells": cells,
        "counts": Counter(state for _, (state, _) in states),
        "seconds": outcome.seconds,
        "made": [_brief(s) for s in outcome.made.values()],
        "reused": [_brief(s) for s in outcome.reused.values()],
    }


def _brief(stage: Stage) -> dict[str, str]:
    return {"kind": stage.kind, "name": stage.name, "key": stage.key}


def exit_code(results: Results) -> int:
    """That of the results; says so where they are missing in the database."""
    if results.database_error:
        click.echo(
            "bench: the results database could not be written "
            f"({results.database_error}); the results are in the store: repair the database, then "
            "run: bench results rebuild",
            err=True,
        )
    return results.exit_code


def _summary(results: Results) -> None:
    from bench.cli.leaderboard import print_rows
    from bench.core.store import Store

    plan, outcome, database = results.plan, results.outcome, results.database
    store = Store(results.runtime.home)
    finished = [c for c in plan.cells if c.final and c.final.key not in outcome.errors]
    if finished:
        if database:
            print_rows(database.read_rows_of({c.final.key for c in finished if c.final}))
        for planned in finished:
            click.echo(_where(planned, store))
    for planned in plan.cells:
        if planned.unsupported:
            cell = planned.cell
            label = f"{cell.method} x {cell.crop} x {cell.task} seed {cell.seed}"
            click.echo(f"unsupported: {label}: {planned.unsupported}", err=True)
    for error in dict.fromkeys(str(e) for e in outcome.errors.values()):
        click.echo(f"bench: {redact(error)}", err=True)
    reused = ", ".join(f"{s.kind}/{s.name}" for s in outcome.reused.values())
    echo_prose(
        f"{len(outcome.made)} stage(s) made, {len(outcome.reused)} reused, in "
        f"{outcome.seconds:.0f} s" + (f": {reused}" if reused else "")
    )
    kept = (stage for stage in plan.stages if stage.key not in outcome.made)
    if line := stages_line(store, kept, "reused stages", "--force"):
        click.echo(line)
    if finished and finished[0].final:
        click.echo(f"next: bench leaderboard   or   bench show {finished[0].final.short}")


def _where(planned: PlannedCell, store: Store) -> str:
    assert planned.final is not None
    folder: Path = store.folder(planned.final)
    backbone = planned.final.inputs.get("backbone")
    lines = [f"files: {folder}"]
    if backbone is not None:
        lines.append(f"backbone: {store.folder(backbone) / 'backbone.pth'}")
    return "\n".join(lines)
