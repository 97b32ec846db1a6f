"""bench plan: what a run would make or reuse; runs nothing."""

from __future__ import annotations

from typing import Any

import click

from bench.cli._common import (
    cell_options,
    devices_option,
    open_runtime,
    plan_from_options,
    print_json,
)
from bench.cli._other_code import stages_line


@click.command()
@cell_options
@click.option("--json", "as_json", is_flag=True, help="Stages and cells as JSON.")
def command(as_json: bool, devices: str, workers: int, **options: Any) -> None:
    """Show the stages a run would make or reuse; runs nothing."""
    from bench.core.store import Store
    from bench.plan.estimate import estimate

    runtime = open_runtime(devices=devices_option(devices), workers=workers)
    plan = plan_from_options(runtime, **options)
    store = Store(runtime.home)
    states = {s.key: "done" if store.has(s) else "missing" for s in plan.stages}
    seconds = estimate(store, (s for s in plan.stages if as_json or states[s.key] == "missing"))
    if as_json:
        stages = [
            {**_brief(s), "state": states[s.key], "estimate": seconds[s.key]} for s in plan.stages
        ]
        print_json({"stages": stages, "cells": [_cell(c, states) for c in plan.cells]})
        return
    lines = []
    for stage in plan.stages:
        left = "" if states[stage.key] == "done" else _about(seconds[stage.key])
        lines.append(
            f"{states[stage.key]:<8} {stage.short}  {stage.kind + '/' + stage.name:<28} {left}"
        )
    for planned in plan.cells:
        if planned.unsupported:
            lines.append(
                f"unsupported: {planned.cell.method} x {planned.cell.crop}: {planned.unsupported}"
            )
    click.echo("\n".join(lines))
    missing = [s for s in plan.stages if states[s.key] == "missing"]
    known = [seconds[s.key] for s in missing if seconds[s.key] is not None]
    click.echo(
        f"{len(plan.cells)} cell(s), {len(plan.stages)} stages: {len(plan.stages) - len(missing)} "
        "done, "
        f"{len(missing)} to make{_total(known, len(missing))}"
    )
    done = (stage for stage in plan.stages if states[stage.key] == "done")
    if line := stages_line(store, done, "stages that are done", "bench run --force"):
        click.echo(line)


def _about(seconds: float | None) -> str:
    return "no estimate yet" if seconds is None else f"about {seconds:.0f} s"


def _total(known: list[float | None], missing: int) -> str:
    if not missing or not known:
        return ""
    less = "" if len(known) == missing else f" for the {len(known)} with an estimate"
    return f", about {sum(k for k in known if k):.0f} s{less}"


def _brief(stage: Any) -> dict[str, Any]:
    record = stage.record()
    return {k: record[k] for k in ("key", "kind", "name", "inputs")}


def _cell(planned: Any, states: dict[str, str]) -> dict[str, Any]:
    cell, final = planned.cell, planned.final
    return {
        "method": cell.method,
        "crop": cell.crop,
        "task": cell.task,
        "scale": cell.scale,
        "seed": cell.seed,
        "pretrain_data": cell.data,
        "task_data": cell.task_data,
        "engine": planned.engine,
        "overrides": dict(cell.overrides),
        "final": final.key if final else None,
        "state": states[final.key] if final else "unsupported",
        "reason": planned.unsupported,
    }
