"""bench matrix: a whole product of methods, crops, tasks and seeds, each stage once."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from bench.cli._options import JSON, Names, launcher_options, setting_options
from bench.cli._table import echo_prose, print_json
from bench.launch.session import open_runtime

if TYPE_CHECKING:
    from bench.cli.run import Made
    from bench.core.stage import Stage
    from bench.plan.cell import Plan, PlannedCell

State = tuple[str, str | None]  # done, failed, unsupported or left out; and the reason


@click.command()
@click.option(
    "--methods",
    "-m",
    type=Names("method"),
    required=True,
    help="Methods, as names or globs separated by commas, for example byol,moco*, or all.",
)
@click.option(
    "--crops",
    "-c",
    type=Names("crop"),
    required=True,
    help="Crop strategies, as names or globs separated by commas, for example gt,obj_*, or all.",
)
@click.option(
    "--tasks",
    "-t",
    type=Names("task"),
    required=True,
    help="Tasks, as names or globs separated by commas, for example coco_det,voc07_*, or all.",
)
@click.option(
    "--retry",
    type=click.Choice(["failed"]),
    help="Which cells to run again: failed means those that failed before.",
)
@JSON(help="Print every cell and its state as JSON instead of as text.")
@setting_options
@launcher_options
def command(
    methods: str,
    crops: str,
    tasks: str,
    retry: str | None,
    as_json: bool,
    devices: int | str,
    workers: int,
    launcher: str,
    max_parallel: int,
    ray_address: str,
    **options: Any,
) -> None:
    """Run every method x crop x task x seed, each stage once.

    Pairs that cannot work are left out with the reason, and a cell that fails does not stop the
    others. The same command again goes on where this one stopped, without the cells that failed
    unless --retry failed is given. Several of these commands may run at the same time on one
    BENCH_HOME. For example:

    \b
    bench matrix --methods byol,orl --crops all --tasks voc07_svm,knn --seeds 0-2
    """
    from bench.cli.run import run_plan
    from bench.core.store import Store
    from bench.plan.product import plan_product

    runtime = open_runtime(
        devices=devices,
        workers=workers,
        launcher=launcher,
        max_parallel=max_parallel,
        ray_address=ray_address,
    )
    Store(runtime.home)  # an error now, where it cannot be written
    names = {"method": methods, "crop": crops, "task": tasks}
    patterns = {kind: "*" if name == "all" else name for kind, name in names.items()}
    whole = plan_product(runtime, **patterns, **options)
    plan, left_out = (whole, {}) if retry else _without_failed(whole, runtime.database)
    finished = run_plan(plan, runtime)
    states = [(c, _state(c, finished, left_out)) for c in whole.cells]
    if as_json:
        print_json(_json(states, finished))
    else:
        print_summary(states, finished)
    sys.exit(finished.exit_code(plan) or (1 if left_out else 0))


def _without_failed(plan: Plan, database: str) -> tuple[Plan, dict[str, str]]:
    """The plan without the cells that failed when they were last tried, and why those failed by
    final key."""
    from bench.plan.cell import Plan
    from bench.results.db.database import open_database

    failed = {c["label"]: c["reason"] or "" for c in open_database(database).read_cells("failed")}
    left_out = {
        c.final.key: failed[c.final.key] for c in plan.cells if c.final and c.final.key in failed
    }
    return Plan([c for c in plan.cells if not (c.final and c.final.key in left_out)]), left_out


def _state(planned: PlannedCell, finished: Made, left_out: dict[str, str]) -> State:
    if planned.final is None:
        return "unsupported", planned.unsupported
    key = planned.final.key
    if key in left_out:
        return "left out", left_out[key]
    error = finished.outcome.errors.get(key)
    return ("failed", str(error)) if error else ("done", None)


def end(plan: Plan, finished: Made) -> None:
    """The summary of a plan of which nothing was left out."""
    print_summary([(c, _state(c, finished, {})) for c in plan.cells], finished)


def print_summary(states: list[tuple[PlannedCell, State]], finished: Made) -> None:
    """The scores, then counts of every state, and each reason once with the number of cells that
    it stopped."""
    from bench.cli.leaderboard import print_rows

    done = [c.final.key for c, (state, _) in states if state == "done" and c.final]
    if done and finished.database:
        print_rows(finished.database.read_rows_of(set(done)))
    for state in ("unsupported", "failed", "left out"):
        for line in _reasons((c, why) for c, (s, why) in states if s == state):
            echo_prose(f"{state}: {line}", "  ", "", err=state != "unsupported")
    counts = Counter(state for _, (state, _) in states)
    parts = [
        f"{counts[s]} {s}" for s in ("done", "failed", "left out", "unsupported") if counts[s]
    ]
    outcome = finished.outcome
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


def _json(states: list[tuple[PlannedCell, State]], finished: Made) -> dict[str, Any]:
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
    outcome = finished.outcome
    return {
        "cells": cells,
        "counts": Counter(state for _, (state, _) in states),
        "seconds": outcome.seconds,
        "made": [_brief(s) for s in outcome.made.values()],
        "reused": [_brief(s) for s in outcome.reused.values()],
    }


def _brief(stage: Stage) -> dict[str, str]:
    return {"kind": stage.kind, "name": stage.name, "key": stage.key}
