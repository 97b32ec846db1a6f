"""bench perf learning: what every method learns on small data."""

from __future__ import annotations

import sys
from statistics import mean
from typing import TYPE_CHECKING, Literal

import click

from bench.cli._engine import open_engine
from bench.cli._options import (
    CROP,
    JSON,
    METHOD,
    PRETRAIN_DATA,
    SCALE,
    SEEDS,
    SET,
    TASK,
    TASK_DATA,
    device_options,
)
from bench.cli._table import print_json
from bench.launch.session import open_runtime

if TYPE_CHECKING:
    from bench.measure.learning import Learned


@click.command()
@TASK(required=True)
@METHOD(default="all", show_default=True)
@CROP(default="image", show_default=True)
@PRETRAIN_DATA()
@TASK_DATA(
    help="Data that the task trains and scores on, for example voc2007=/data/VOC2007. The default "
    "is that of --data."
)
@SCALE()
@SEEDS()
@SET()
@device_options
@JSON()
def learning(
    task: str,
    method: str,
    crop: str,
    data: str | None,
    task_data: str | None,
    scale: str,
    seeds: str,
    sets: tuple[str, ...],
    devices: int | str,
    workers: int,
    as_json: bool,
) -> None:
    """Train every method; show how its loss fell and how its features score.

    The cells are ordinary ones: what is done is reused. A Markdown table is printed, for notes;
    methods that do not train are its reference. The exit code is 1 if a cell failed.
    """
    from bench.core.store import Store
    from bench.measure.learning import describe_cell
    from bench.plan.product import plan_product

    runtime = open_runtime(devices=devices, workers=workers)
    store = Store(runtime.home)
    plan = plan_product(
        runtime,
        method="*" if method == "all" else method,
        crop=crop,
        task=task,
        data=data,
        task_data=task_data or data,
        scale=scale,
        seeds=seeds,
        sets=sets,
    )
    with open_engine(runtime) as (engine, _):
        outcome = engine.run(plan)
    done = [c for c in plan.cells if c.final and c.final.key not in outcome.errors]
    rows = [describe_cell(c, store) for c in done]
    if as_json:
        print_json(rows)
    else:
        click.echo(markdown(rows))
    for planned in plan.cells:
        if planned.unsupported:
            click.echo(
                f"unsupported: {planned.cell.method} x {planned.cell.crop}: {planned.unsupported}",
                err=True,
            )
    for error in dict.fromkeys(str(e) for e in outcome.errors.values()):
        click.echo(f"bench: {error}", err=True)
    sys.exit(1 if outcome.errors else 0)


def markdown(rows: list[Learned]) -> str:
    """A table per task, below its name where there are several."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    if len(tasks) < 2:
        return _table(rows)
    parts = [f"{task}\n\n{_table([r for r in rows if r['task'] == task])}" for task in tasks]
    return "\n\n".join(parts)


def _table(rows: list[Learned]) -> str:
    """A line per method and crop, metrics in their task's order: means over seeds, and their
    range."""
    names = list(rows[0]["metrics"]) if rows else []
    lines = [
        "| method | crop | seeds | steps | loss | std of outputs | " + " | ".join(names) + " |"
    ]
    lines.append("|---|---|" + "---:|" * (len(names) + 4))
    groups: dict[tuple[str, str], list[Learned]] = {}
    for row in rows:
        groups.setdefault((row["method"], row["crop"]), []).append(row)
    for (method, crop), group in sorted(groups.items(), key=lambda g: (g[1][0]["trained"], g[0])):
        scores = [_spread([r["metrics"].get(n, float("nan")) for r in group]) for n in names]
        cells = [method, crop, str(len(group)), f"{mean(r['steps'] for r in group):.0f}"]
        cells += [_ends(group, "loss", ".2f"), _ends(group, "std", ".3f"), *scores]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _spread(values: list[float]) -> str:
    """`12.3 (11.8-12.9)`: the mean, the least and the greatest; a single value as it is."""
    spread = f" ({min(values):.1f}-{max(values):.1f})" if len(values) > 1 else ""
    return f"{mean(values):.1f}{spread}"


def _ends(group: list[Learned], name: Literal["loss", "std"], form: str) -> str:
    values = [ends for row in group if (ends := row[name]) is not None]
    return " to ".join(f"{mean(v[i] for v in values):{form}}" for i in (0, 1)) if values else "-"
