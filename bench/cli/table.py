"""bench table: the papers' tables as lists of cells, and reported beside measured."""

from __future__ import annotations

import sys
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from bench.cli._common import (
    ScaleName,
    device_options,
    devices_option,
    engine_options,
    open_runtime,
    print_json,
)
from bench.core.errors import BadInput, BenchError

if TYPE_CHECKING:
    from bench.core.params import Runtime
    from bench.plan.cell import Cell, Plan, PlannedCell
    from bench.results.papers.tables import Table

FORMATS = ("text", "markdown", "latex", "csv")


class TableName(click.ParamType):
    """`PAPER/TABLE`, completed."""

    name = "PAPER/TABLE"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from bench.results.papers.tables import list_tables

        return [
            CompletionItem(t["name"], help=t["caption"])
            for t in list_tables()
            if t["name"].startswith(incomplete)
        ]


@click.group()
def command() -> None:
    """The papers' tables: their cells, and reported beside measured.

    000 Coarse Is Better?  001 Object-Aware Cropping  002 ORL  003 CCOP
    """


@command.command("list")
@click.option("--json", "as_json", is_flag=True)
def list_(as_json: bool) -> None:
    """Every table: how many rows, columns and reported numbers it has."""
    from bench.results.papers.tables import list_tables

    found = list_tables()
    if as_json:
        print_json(found)
        return
    for table in found:
        size = f"{table['rows']} x {table['columns']}"
        click.echo(
            f"{table['name']:<9} {size:>7}  {table['values']:>3} values  {table['caption']}"
        )


@command.command()
@click.argument("name", type=TableName())
@click.option("--scale", "-s", type=ScaleName(), default="tiny", show_default=True)
@click.option("--seeds", default="0", show_default=True, help="0 | 0,1 | 0-4")
@click.option(
    "--rows", default="*", show_default=True, help="A glob of row labels, as `show` prints them."
)
@click.option("--tasks", default="*", show_default=True, help="A glob of our tasks.")
@click.option(
    "--data", multiple=True, metavar="NAME=PATH", help="Where a data set lies (several times)."
)
@click.option("--dry-run", is_flag=True, help="Print the commands of the cells; run nothing.")
@device_options
@engine_options
def run(
    name: str,
    scale: str,
    seeds: str,
    rows: str,
    tasks: str,
    data: tuple[str, ...],
    dry_run: bool,
    devices: str,
    workers: int,
    launcher: str,
    max_parallel: int,
    ray_address: str,
) -> None:
    """Run the cells of table NAME at a scale, each stage once.

    They are ordinary cells: what is done is reused, and leaderboards show them. At scale tiny all
    of them pretrain on generated scenes.
    """
    from bench.cli.matrix import end
    from bench.cli.run import run_plan
    from bench.plan.options import check_scale, parse_seeds
    from bench.results.papers.tables import load_table

    table = load_table(name)
    runtime = open_runtime(
        devices=devices_option(devices),
        workers=workers,
        launcher=launcher,
        max_parallel=max_parallel,
        ray_address=ray_address,
    )
    chosen = _chosen(table, check_scale(scale), rows, tasks)
    numbers = parse_seeds(seeds)
    cells = {
        row: [replace(c, seed=n) for c in group for n in numbers] for row, group in chosen.items()
    }
    plan = _plan(cells, runtime, _paths(data))
    if dry_run:
        click.echo("\n".join(p.cell.command() for p in plan.cells if p.final))
        return
    made = run_plan(plan, runtime)
    end(plan, made)
    click.echo(f"next: bench table show {table.name} --scale {scale}")
    sys.exit(made.exit_code(plan))


def _chosen(table: Table, scale: str, rows: str, tasks: str) -> dict[str, list[Cell]]:
    """The different cells of the rows and tasks that the globs name, by the row that first needs
    them."""
    from bench.plan.options import default_task_data

    found: dict[str, list[Cell]] = {}
    for cell, places in table.cells(scale).items():
        labels = [label for label, _ in places if label == rows or fnmatchcase(label, rows)]
        if labels and fnmatchcase(cell.task, tasks):
            data = default_task_data(cell.task, scale)
            found.setdefault(labels[0], []).append(replace(cell, task_data=data))
    if not found:
        raise BadInput(
            f"no row and task of table {table.name} matches {rows!r} and {tasks!r}, or the "
            "paper's numbers "
            f"there are only reported; try: bench table show {table.name}"
        )
    return found


def _plan(cells: dict[str, list[Cell]], runtime: Runtime, paths: dict[str, Path | None]) -> Plan:
    """All rows planned; one whose data is missing is left out, with a line that says so, unless
    all are."""
    from bench.plan.cell import Plan
    from bench.plan.planner import make_plan

    planned: list[PlannedCell] = []
    errors: list[BenchError] = []
    for label, group in cells.items():
        try:
            planned += make_plan(group, runtime, paths).cells
        except BenchError as error:
            errors.append(error)
            click.echo(f"left out: {label}: {error}", err=True)
    if not planned:
        raise errors[0]
    return Plan(planned)


def _paths(given: tuple[str, ...]) -> dict[str, Path | None]:
    from bench.plan.options import parse_data

    paths: dict[str, Path | None] = {}
    for text in given:
        data, path = parse_data(text)
        if not data or not path:
            raise BadInput(f"--data says where a set of the table lies, NAME=PATH, got {text!r}")
        paths[data] = path
    return paths


@command.command()
@click.argument("name", type=TableName())
@click.option("--scale", "-s", type=ScaleName(), default="tiny", show_default=True)
@click.option("--format", "form", type=click.Choice(FORMATS), default="text", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Everything as JSON.")
def show(name: str, scale: str, form: str, as_json: bool) -> None:
    """Table NAME: reported numbers beside what was measured here at a scale, and what still holds.

    Measured: mean over seeds ± half of the 95 % Student-t interval (number of seeds). Reported
    numbers are the papers', at their scale; they are never averaged with ours. ?: the number is
    doubtful.
    """
    from bench.plan.options import check_scale
    from bench.results.db.database import open_database
    from bench.results.papers.measured import compare_table
    from bench.results.papers.table_text import WRITERS

    compared = compare_table(open_database(open_runtime().database), name, check_scale(scale))
    if as_json:
        print_json(compared)
        return
    click.echo(WRITERS[form](compared), nl=False)
