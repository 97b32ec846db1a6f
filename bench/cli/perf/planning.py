"""bench perf plan: how long planning thousands of cells takes, and how much memory."""

from __future__ import annotations

import os
from typing import Any

import click

from bench.cli._options import CROP, METHOD, SCALE, SEEDS, TASK, say_left_out
from bench.cli._table import Column, print_table
from bench.cli.perf._report import REPORT, write_report
from bench.launch.session import open_runtime


@click.command(name="plan")
@METHOD(default="all", show_default=True)
@CROP(default="all", show_default=True)
@TASK(default="all", show_default=True)
@SCALE()
@SEEDS(default="0,1")
@REPORT()
def time_planning(
    method: str, crop: str, task: str, scale: str, seeds: str, json_file: str | None
) -> None:
    """Plan a product of cells as bench plan does: the seconds of each step, and the memory.

    Memory is the most that the process has held so far, with all libraries it has imported.
    """
    from bench.core.store import Store
    from bench.measure.planning import Steps
    from bench.plan.planner import make_plan
    from bench.plan.product import make_cells

    load, steps, runtime = os.getloadavg()[0], Steps(), open_runtime()
    names = {"method": method, "crop": crop, "task": task}
    patterns = {kind: "*" if name == "all" else name for kind, name in names.items()}
    steps.time("import components", lambda: _import(patterns))
    cells, paths = steps.time(
        "cells",
        lambda: make_cells(
            **patterns, scale=scale, seeds=seeds, data=None, task_data=None, sets=()
        ),
    )
    plan = steps.time("plan", lambda: make_plan(cells, runtime, paths))
    stages = steps.time("keys and order", lambda: plan.stages)
    store = Store(runtime.home)
    done = steps.time("look in the store", lambda: sum(store.has(stage) for stage in stages))
    from bench.measure.timing import machine

    report = {
        "machine": {**machine(), "load": load},
        "cells": len(cells),
        "stages": len(stages),
        "done": done,
        "steps": steps.rows,
        "load_after": os.getloadavg()[0],
    }
    write_report(report, json_file, _print)


def _import(patterns: dict[str, str]) -> None:
    from bench.contracts import registry
    from bench.plan.options import match

    for kind, pattern in patterns.items():
        for name in match(kind, pattern, say_left_out):
            registry.load(kind, name)


def _print(report: dict[str, Any]) -> None:
    rows = [(r["step"], f"{r['seconds']:.2f}", f"{r['megabytes']:.0f}") for r in report["steps"]]
    rows.append(("together", f"{sum(r['seconds'] for r in report['steps']):.2f}", rows[-1][2]))
    print_table(
        [Column("step"), Column("seconds", right=True), Column("peak MB", right=True)],
        rows,
        f"Planning {report['cells']} cells, {report['stages']} stages, of which {report['done']} "
        "are done",
    )
