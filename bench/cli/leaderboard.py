"""bench leaderboard: what was measured, best first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from bench.cli._common import Names, ScaleName, open_runtime, print_json

if TYPE_CHECKING:
    from bench.results.db.database import Database
    from bench.results.db.records import LeaderboardRow

FIELDS = (
    "method",
    "crop",
    "task",
    "scale",
    "pretrain_data",
    "task_data",
    "engine",
    "seeds",
    "metrics",
    "source",
    "headline",
    "overrides",
    "cells",
)


@click.command()
@click.option("--method", type=Names("method"))
@click.option("--crop", type=Names("crop"))
@click.option("--task", type=Names("task"))
@click.option("--scale", type=ScaleName())
@click.option("--data", type=Names("data"), help="Pretraining data.")
@click.option(
    "--limit",
    default=20,
    show_default=True,
    type=click.IntRange(1),
    help="Rows of a table; see --all.",
)
@click.option("--all", "every", is_flag=True, help="Every row.")
@click.option(
    "--validation", is_flag=True, help="Also what sweeps scored on a part of the training images."
)
@click.option("--json", "as_json", is_flag=True, help="Every row as JSON.")
def command(
    as_json: bool, validation: bool, every: bool, limit: int, data: str | None, **given: str | None
) -> None:
    """Rank what was measured: mean over seeds, 95 % Student-t interval where there are two or
    more.

    bench dashboard shows the same with cells that failed or are missing, and the papers' numbers.
    """
    from bench.results.db.database import open_database

    filters = {name: value.split(",") for name, value in given.items() if value}
    if data:
        filters["pretrain_data"] = data.split(",")
    database = open_database(open_runtime().database)
    rows, total = database.read_best(None if every or as_json else limit, validation, **filters)
    if as_json:
        print_json([_select_fields(row) for row in rows])
    elif rows:
        print_rows(rows)
        if len(rows) < total:
            click.echo(
                f"{len(rows)} of {total} rows; try: bench leaderboard --all, or --task NAME"
            )
        if line := _other_code(database, rows):
            click.echo(line)
    else:
        what = (
            "matches; try: bench leaderboard"
            if filters
            else "yet; try: bench run --method orl --task coco_det"
        )
        click.echo(f"no result {what}")


def _select_fields(row: Mapping[str, object]) -> dict[str, object]:
    return {name: row[name] for name in FIELDS}


def _other_code(database: Database, rows: Sequence[LeaderboardRow]) -> str:
    from bench.cli._other_code import line
    from bench.results.views.lineage import changed_behind

    shown = [label for row in rows for label in row["cells"]]
    with database.engine.connect() as connection:
        cells, names = changed_behind(connection, shown)
    return line(len(cells), "results above", names, "bench run --force")


def print_rows(rows: list[LeaderboardRow]) -> None:
    """A table per task, scale, data and engine: such rows may be compared, others not."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console.width = 160
    boards: dict[tuple[str, ...], list[LeaderboardRow]] = {}
    for row in rows:
        where = row["task"], row["scale"], row["pretrain_data"], row["task_data"], row["engine"]
        boards.setdefault(where, []).append(row)
    for (task, scale, pretrain, task_data, engine), members in boards.items():
        with_engine = f", engine {engine}" if engine else ""
        title = f"{task} ({scale}; pretrained on {pretrain}, scored on {task_data}{with_engine})"
        names = _metric_names(members)
        table = Table(title=title, title_justify="left")
        for name in ("method", "crop", "seeds"):
            table.add_column(name, no_wrap=True)
        for name in names:
            table.add_column(name, justify="right", no_wrap=True)
        notes: list[str] = []
        for row in members:
            label = (
                row["method"]
                if row["source"] == "measured"
                else f"{row['method']} ({row['source']})"
            )
            changed = " ".join(f"--set {k}={v}" for k, v in row["overrides"].items())
            if changed:
                notes += [changed] * (changed not in notes)
                label += f" *{notes.index(changed) + 1}"
            table.add_row(
                label, row["crop"], str(len(row["seeds"])), *(_cell(row, n) for n in names)
            )
        console.print(table, markup=False)
        for number, note in enumerate(notes, 1):
            click.echo(f"*{number} {note}")


def _metric_names(rows: list[LeaderboardRow]) -> list[str]:
    headline = rows[0]["headline"]
    return list(dict.fromkeys([headline, *(name for row in rows for name in row["metrics"])]))


def _cell(row: LeaderboardRow, name: str) -> str:
    metric = row["metrics"].get(name)
    if metric is None:
        return "-"
    text = f"{metric['mean']:.1f}"
    return text if metric["ci95"] is None else f"{text} ± {metric['ci95']:.1f}"
