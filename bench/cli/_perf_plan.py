"""bench perf plan: how long planning thousands of cells takes, and how much memory."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import click

from bench.cli._common import Names, ScaleName, make_cells, open_runtime
from bench.cli._perf_common import JSON, print_table, write_report


class Steps:
    """Seconds of each step, and the peak memory of this process after it."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def timed(self, name: str, action: Callable[[], Any]) -> Any:
        """`action()`, timed."""
        start = time.perf_counter()
        found = action()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        # bytes there, else KiB
        megabytes = peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)
        self.rows.append(
            {"step": name, "seconds": time.perf_counter() - start, "megabytes": megabytes}
        )
        return found


@click.command(name="plan")
@click.option("--method", "-m", type=Names("method"), default="all", show_default=True)
@click.option("--crop", "-c", type=Names("crop"), default="all", show_default=True)
@click.option("--task", "-t", type=Names("task"), default="all", show_default=True)
@click.option("--scale", "-s", type=ScaleName(), default="tiny", show_default=True)
@click.option("--seeds", default="0,1", show_default=True, help="0 | 0,1 | 0-4")
@JSON
def time_planning(
    method: str, crop: str, task: str, scale: str, seeds: str, json_file: str | None
) -> None:
    """Plan a product of cells as `bench plan` does: seconds of each step, peak memory after it.

    Memory is what the process holds, libraries too: all but PyTorch, which planning does without.
    """
    from bench.core.store import Store
    from bench.plan.planner import make_plan

    load, steps, runtime = os.getloadavg()[0], Steps(), open_runtime()
    chosen = {"method": method, "crop": crop, "task": task}
    chosen = {kind: "*" if given == "all" else given for kind, given in chosen.items()}
    steps.timed("import components", lambda: _import(chosen))
    cells, paths = steps.timed(
        "cells",
        lambda: make_cells(**chosen, scale=scale, seeds=seeds, data=None, task_data=None, sets=()),
    )
    plan = steps.timed("plan", lambda: make_plan(cells, runtime, paths))
    stages = steps.timed("keys and order", lambda: plan.stages)
    store = Store(runtime.home)
    done = steps.timed("look in the store", lambda: sum(store.has(stage) for stage in stages))
    from bench.measure.perf import machine

    report = {
        "machine": {**machine(), "load": load},
        "cells": len(cells),
        "stages": len(stages),
        "done": done,
        "steps": steps.rows,
        "load_after": os.getloadavg()[0],
    }
    write_report(report, json_file, _table)


def _import(patterns: dict[str, str]) -> None:
    from bench.contracts import registry
    from bench.plan.options import match

    for kind, pattern in patterns.items():
        for name in match(kind, pattern):
            registry.load(kind, name)


def _table(report: dict[str, Any]) -> None:
    rows = [(r["step"], f"{r['seconds']:.2f}", f"{r['megabytes']:.0f}") for r in report["steps"]]
    rows.append(("together", f"{sum(r['seconds'] for r in report['steps']):.2f}", rows[-1][2]))
    title = f"Planning {report['cells']} cells, {report['stages']} stages, {report['done']} of them done"
    print_table(title, ("step", "seconds", "peak MB"), rows)
