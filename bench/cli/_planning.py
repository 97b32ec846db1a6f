"""bench perf plan: how long planning thousands of cells takes, and how much memory."""

from __future__ import annotations

import json
import resource
import sys
import time
from typing import Any

import click

from bench.cli._common import Names, ScaleName, make_cells, open_runtime


@click.command()
@click.option("--method", "-m", type=Names("method"), default="all", show_default=True)
@click.option("--crop", "-c", type=Names("crop"), default="all", show_default=True)
@click.option("--task", "-t", type=Names("task"), default="all", show_default=True)
@click.option("--scale", "-s", type=ScaleName(), default="tiny", show_default=True)
@click.option("--seeds", default="0,1", show_default=True, help="0 | 0,1 | 0-4")
@click.option("--json", "as_json", is_flag=True)
def planning(method: str, crop: str, task: str, scale: str, seeds: str, as_json: bool) -> None:
    """Plan a product of cells as `bench plan` does; seconds of each step and peak memory after it.

    Memory is what the process holds, libraries too: the first line is PyTorch alone.
    """
    steps: list[dict[str, Any]] = []

    def note(name: str, start: float) -> None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform == "darwin" else 1024)
        steps.append({"step": name, "seconds": time.perf_counter() - start, "megabytes": peak})

    start = time.perf_counter()
    import torch  # noqa: F401  (what every method imports; timed apart)

    note("import torch", start)
    names = {"method": method, "crop": crop, "task": task}
    chosen = {kind: "*" if given == "all" else given for kind, given in names.items()}
    start = time.perf_counter()
    _load(chosen)
    note("import components", start)
    runtime, start = open_runtime(), time.perf_counter()
    from bench.cell import make_plan
    from bench.store import Store

    cells, paths = make_cells(**chosen, scale=scale, seeds=seeds, data=None, task_data=None, sets=())
    plan = make_plan(cells, runtime, paths)
    note("plan", start)
    start = time.perf_counter()
    stages = plan.stages
    note("keys and order", start)
    start = time.perf_counter()
    store = Store(runtime.home)
    done = sum(store.done(stage) for stage in stages)
    note("look in the store", start)
    counts = {"cells": len(cells), "stages": len(stages), "done": done}
    if as_json:
        click.echo(json.dumps({**counts, "steps": steps}, indent=1))
        return
    for step in steps:
        click.echo(f"{step['step']:<18} {step['seconds']:6.2f} s  {step['megabytes']:5.0f} MB")
    total = sum(step["seconds"] for step in steps)
    click.echo(f"{len(cells)} cells, {len(stages)} stages, {done} of them done: {total:.2f} s")


def _load(patterns: dict[str, str]) -> None:
    from bench import registry
    from bench.cell import match

    for kind, pattern in patterns.items():
        for name in match(kind, pattern):
            registry.load(kind, name)
