"""bench table: the papers' tables as lists of cells, and reported beside measured."""

from __future__ import annotations

import sys
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from bench.cli._options import (
    DRY_RUN,
    JSON,
    SCALE,
    SEEDS,
    TASK,
    device_options,
    launcher_options,
)
from bench.cli._table import Column, echo_prose, print_json, print_table
from bench.cli._tracking import take_tracking, tracker_options
from bench.cli._verb import renamed_options
from bench.core.errors import BadInput, BenchError
from bench.launch.session import open_runtime

if TYPE_CHECKING:
    from bench.core.params import Runtime
    from bench.plan.cell import Cell, Plan, PlannedCell
    from bench.results.papers.compared import ComparedTable
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
    """List the tables of the papers, run their cells, show reported beside measured.

    The papers are 000, Coarse Is Better?, 001, Object-Aware Cropping, 002, ORL, and 003, CCOP.
    """


@command.command("list")
@JSON()
def list_(as_json: bool) -> None:
    """List every table: its rows and columns, its reported numbers, and what it is about."""
    from bench.results.papers.tables import list_tables

    tables = list_tables()
    if as_json:
        print_json(tables)
        return
    print_table(
        [
            Column("table"),
            Column("rows", right=True),
            Column("columns", right=True),
            Column("numbers", right=True),
            Column("caption", wrap=True),
        ],
        [
            (t["name"], str(t["rows"]), str(t["columns"]), str(t["values"]), t["caption"])
            for t in tables
        ],
    )


@command.command(cls=renamed_options(tasks="task"))
@click.argument("name", type=TableName())
@SCALE()
@SEEDS()
@click.option(
    "--rows",
    default="*",
    show_default=True,
    help="Rows to run: a glob of their labels as bench table show prints them, for example "
    "'BYOL*'.",
)
@TASK(default="all", show_default=True)
@click.option(
    "--data",
    multiple=True,
    metavar="NAME=PATH",
    help="Where a data set of the table is, for example coco=/data/coco; may be repeated.",
)
@JSON(help="Print every cell and its state as JSON instead of as text.")
@DRY_RUN()
@device_options
@launcher_options
@tracker_options
def run(
    name: str,
    scale: str,
    seeds: str,
    rows: str,
    task: str,
    data: tuple[str, ...],
    dry_run: bool,
    devices: int | str,
    workers: int,
    launcher: str,
    max_parallel: int,
    ray_address: str,
    slurm: str,
    as_json: bool,
    **tracking: Any,
) -> None:
    """Run the cells of table NAME at a scale, each stage once.

    They are ordinary cells: what is done is reused, and the leaderboard shows them. At scale tiny
    all of them pretrain on generated scenes. For example:

    \b
    bench table run 002/T1 --task voc07_svm
    """
    from bench.api.running import run_plan
    from bench.cli.matrix import print_summary
    from bench.cli.run import describe_results, exit_code, print_commands
    from bench.plan.options import check_scale, parse_seeds
    from bench.results.papers.tables import load_table

    table = load_table(name)
    runtime = open_runtime(
        devices=devices,
        workers=workers,
        launcher=launcher,
        max_parallel=max_parallel,
        ray_address=ray_address,
        **take_tracking(tracking, f"table:{table.name}"),
        slurm=slurm,
    )
    groups = _choose_cells(table, check_scale(scale), rows, task)
    numbers = parse_seeds(seeds)
    cells = {
        row: [replace(c, seed=n) for c in group for n in numbers] for row, group in groups.items()
    }
    absent: dict[str, str] | None = {} if dry_run else None
    plan = _make_plan(cells, runtime, _parse_paths(data), absent)
    if dry_run:
        return print_commands(plan, absent or {})
    results = run_plan(plan, runtime)
    if as_json:
        print_json(describe_results(results))
        sys.exit(exit_code(results))
    print_summary(results)
    click.echo(f"next: bench table show {table.name} --scale {scale}")
    sys.exit(exit_code(results))


def _choose_cells(table: Table, scale: str, rows: str, tasks: str) -> dict[str, list[Cell]]:
    """The different cells of the rows and tasks that the globs name, by the row that first needs
    them."""
    from bench.plan.options import default_task_data

    globs = ["*"] if tasks == "all" else [part.strip() for part in tasks.split(",")]
    groups: dict[str, list[Cell]] = {}
    for cell, places in table.cells(scale).items():
        labels = [label for label, _ in places if label == rows or fnmatchcase(label, rows)]
        if labels and any(fnmatchcase(cell.task, glob) for glob in globs):
            data = default_task_data(cell.task, scale)
            groups.setdefault(labels[0], []).append(replace(cell, task_data=data))
    if not groups:
        raise BadInput(
            f"no row and task of table {table.name} matches {rows!r} and {tasks!r}, or the "
            f"numbers there are only reported; try: bench table show {table.name}"
        )
    return groups


def _make_plan(
    cells: dict[str, list[Cell]],
    runtime: Runtime,
    paths: dict[str, Path | None],
    absent: dict[str, str] | None,
) -> Plan:
    """All rows planned; one whose data is missing is left out, with a line that says so, unless
    all are. Where `absent` is given, it gets such data, and no row is left out for them."""
    from bench.plan.cell import Plan
    from bench.plan.planner import make_plan

    planned: list[PlannedCell] = []
    errors: list[BenchError] = []
    for label, group in cells.items():
        try:
            planned += make_plan(group, runtime, paths, absent).cells
        except BenchError as error:
            errors.append(error)
            click.echo(f"left out: {label}: {error}", err=True)
    if not planned:
        raise errors[0]
    return Plan(planned)


def _parse_paths(texts: tuple[str, ...]) -> dict[str, Path | None]:
    from bench.plan.options import parse_data

    paths: dict[str, Path | None] = {}
    for text in texts:
        data, path, _, settings = parse_data(text)
        if settings:
            raise BadInput(f"the data of a table have no settings of their own, got {text!r}")
        if not data or not path:
            raise BadInput(
                f"--data says where a data set of the table is, NAME=PATH, got {text!r}; "
                f"try: --data {data or 'coco'}=PATH"
            )
        paths[data] = path
    return paths


@command.command()
@click.argument("name", type=TableName())
@SCALE(help="Scale whose results are shown beside the reported numbers.")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="text",
    show_default=True,
    help="Format to print the table in.",
)
@JSON()
def show(name: str, scale: str, form: str, as_json: bool) -> None:
    """Show table NAME: reported numbers beside what was measured here, and what still holds.

    A measured number is the mean over seeds ± half of the 95 % Student-t interval, with the number
    of seeds in brackets. Reported numbers are those of the papers, at their scale, and are never
    averaged with ours. A question mark says that the number is doubtful.
    """
    from bench.plan.options import check_scale
    from bench.results.db.database import open_database
    from bench.results.papers.measured import compare_table
    from bench.results.papers.table_text import WRITERS

    compared = compare_table(open_database(open_runtime().database), name, check_scale(scale))
    if as_json:
        print_json(compared)
    elif form == "text":
        _print(compared)
    else:
        click.echo(WRITERS[form](compared), nl=False)


def _print(compared: ComparedTable) -> None:
    """A measured number below each reported one; then what the numbers say."""
    from bench.results.papers.table_text import format_cell, format_title, list_findings

    names = [column["name"] for column in compared["columns"]]
    print_table(
        [Column("row", wrap=True, key=True), *(Column(name, right=True) for name in names)],
        [
            (row["label"], *("\n".join(format_cell(row, name)).rstrip() for name in names))
            for row in compared["rows"]
        ],
        format_title(compared),
    )
    click.echo()
    for line in list_findings(compared):
        echo_prose(line, "  ", "")
