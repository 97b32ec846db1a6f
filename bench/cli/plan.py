"""bench plan: what a run would make or reuse; runs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from bench.cli._options import JSON, cell_options
from bench.cli._other_code import stages_line
from bench.cli._table import Column, echo_prose, print_json, print_table

if TYPE_CHECKING:
    from bench.api.planning import Forecast
    from bench.core.stage import Stage
    from bench.plan.cell import PlannedCell


@click.command()
@cell_options
@JSON()
def command(as_json: bool, devices: int | str, workers: int, **options: Any) -> None:
    """Show the stages that a run would make or reuse, with an estimate of the time.

    Nothing is run. The options are those of bench run. Data that are not on this machine are no
    error: the stages made from them are shown as "no data", with what to download.
    """
    from bench.api.planning import forecast
    from bench.api.request import Request

    ahead = forecast(Request(**options))
    plan, store = ahead.plan, ahead.store
    if as_json:
        _print_json(ahead)
        return
    print_table(
        [Column(""), Column(""), Column(""), Column("", wrap=True)],
        [
            (
                s.state,
                s.key[:12] if s.key else "-",
                f"{s.stage.kind}/{s.stage.name}",
                "" if s.state == "done" else _about(s.seconds),
            )
            for s in ahead.stages
        ],
        heads=False,
    )
    for planned in plan.cells:
        if planned.unsupported:
            echo_prose(
                f"unsupported: {planned.cell.method} x {planned.cell.crop}: {planned.unsupported}",
                "  ",
                "",
            )
    for remark in ahead.remarks:
        echo_prose(remark, "  ", "")
    for name, how in ahead.absent.items():
        echo_prose(f"data {name} are not on this machine: {how}", "  ", "")
    missing = ahead.missing
    known = [s.seconds for s in missing if s.seconds is not None]
    click.echo(
        f"{len(plan.cells)} cell(s), {len(plan.stages)} stages: "
        f"{len(plan.stages) - len(missing)} done, "
        f"{len(missing)} to make{_total(known, len(missing))}"
    )
    done = (s.stage for s in ahead.stages if s.state == "done")
    if line := stages_line(store, done, "stages that are done", "bench run --force"):
        click.echo(line)


def _print_json(ahead: Forecast) -> None:
    keys = {s.stage.key: s.key for s in ahead.stages}
    states = {s.stage.key: s.state for s in ahead.stages}
    stages = [
        {**_brief(s.stage, keys), "state": s.state, "estimate": s.seconds} for s in ahead.stages
    ]
    cells = [_cell(c, keys, states) for c in ahead.cells]
    print_json({"stages": stages, "cells": cells, "absent": ahead.absent})


def _about(seconds: float | None) -> str:
    return "no estimate yet" if seconds is None else f"about {seconds:.0f} s"


def _total(known: list[float], missing: int) -> str:
    if not missing or not known:
        return ""
    less = "" if len(known) == missing else f" for the {len(known)} with an estimate"
    return f", about {sum(known):.0f} s{less}"


def _brief(stage: Stage, keys: Mapping[str, str | None]) -> dict[str, Any]:
    record = stage.record()
    return {
        "key": keys[record["key"]],
        "kind": record["kind"],
        "name": record["name"],
        "inputs": {role: keys[key] for role, key in record["inputs"].items()},
    }


def _cell(
    planned: PlannedCell, keys: Mapping[str, str | None], states: Mapping[str, str]
) -> dict[str, Any]:
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
        "final": keys[final.key] if final else None,
        "state": states[final.key] if final else "unsupported",
        "reason": planned.unsupported,
    }
