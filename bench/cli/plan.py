"""bench plan: what a run would make or reuse; runs nothing."""

from __future__ import annotations

from typing import Any

import click

from bench.cli._options import JSON, cell_options
from bench.cli._other_code import stages_line
from bench.cli._table import Column, echo_prose, print_json, print_table
from bench.launch.session import open_runtime


@click.command()
@cell_options
@JSON()
def command(as_json: bool, devices: int | str, workers: int, **options: Any) -> None:
    """Show the stages that a run would make or reuse, with an estimate of the time.

    Nothing is run. The options are those of bench run.
    """
    from bench.core.store import Store
    from bench.plan.estimate import estimate
    from bench.plan.product import plan_product

    runtime = open_runtime(devices=devices, workers=workers)
    plan = plan_product(runtime, **options)
    store = Store(runtime.home)
    states = {s.key: "done" if store.has(s) else "missing" for s in plan.stages}
    seconds = estimate(store, (s for s in plan.stages if as_json or states[s.key] == "missing"))
    if as_json:
        stages = [
            {**_brief(s), "state": states[s.key], "estimate": seconds[s.key]} for s in plan.stages
        ]
        print_json({"stages": stages, "cells": [_cell(c, states) for c in plan.cells]})
        return
    rows = [(states[s.key], s.short, f"{s.kind}/{s.name}") for s in plan.stages]
    left = ["" if states[s.key] == "done" else _about(seconds[s.key]) for s in plan.stages]
    print_table(
        [Column(""), Column(""), Column(""), Column("", wrap=True)],
        [(*row, text) for row, text in zip(rows, left, strict=True)],
        heads=False,
    )
    for planned in plan.cells:
        if planned.unsupported:
            echo_prose(
                f"unsupported: {planned.cell.method} x {planned.cell.crop}: {planned.unsupported}",
                "  ",
                "",
            )
    missing = [s for s in plan.stages if states[s.key] == "missing"]
    known = [seconds[s.key] for s in missing if seconds[s.key] is not None]
    click.echo(
        f"{len(plan.cells)} cell(s), {len(plan.stages)} stages: "
        f"{len(plan.stages) - len(missing)} done, "
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
        "names": dict(cell.names),
        "final": final.key if final else None,
        "state": states[final.key] if final else "unsupported",
        "reason": planned.unsupported,
    }
