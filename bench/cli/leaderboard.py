"""bench leaderboard: what was measured, best first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli._options import CROP, JSON, METHOD, PRETRAIN_DATA, SCALE, TASK
from bench.cli._table import Column, echo_prose, print_json, print_table
from bench.contracts.task import DEAD_TEXT
from bench.core.files import expand_path
from bench.launch.session import open_runtime

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
    "dead",
    "pretrain_name",
    "pretrain_data_key",
    "task_name",
    "task_data_key",
    "group",
    "pretraining",
)


@click.command()
@METHOD(help="Show only these methods, for example byol,moco_v2.")
@CROP(help="Show only these crop strategies, for example gt,image.")
@TASK(help="Show only these tasks, for example coco_det,voc07_svm.")
@SCALE(default=None, help="Show only results of this scale: tiny, small or paper.")
@PRETRAIN_DATA(
    metavar="NAME[,NAME...]",
    help="Show only results that were pretrained on this data, for example coco.",
)
@click.option(
    "--limit",
    default=20,
    show_default=True,
    type=click.IntRange(1),
    help="Rows to show; --all shows every row.",
)
@click.option("--all", "every", is_flag=True, help="Show every row.")
@click.option(
    "--validation",
    is_flag=True,
    help="Also show what sweeps scored on a part of the training images.",
)
@click.option(
    "--html",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Write the boards and plots as one web page, FOLDER/index.html, which needs no server.",
)
@JSON(help="Print every row as JSON instead of as text.")
def command(
    as_json: bool,
    validation: bool,
    every: bool,
    limit: int,
    data: str | None,
    folder: Path | None,
    **names: str | None,
) -> None:
    """Rank what was measured, best first.

    A number is the mean over seeds, with the half-width of the 95 % Student-t interval where
    there are two seeds or more. A sign says which number is the best of its column and which
    cannot be told from it, among the rows shown. bench dashboard shows the same with the cells
    that failed or are missing, and with the numbers of the papers. --html writes that board and
    its plots as one web page, which can be put on any web server or into a supplement.
    """
    from bench.api.tables import make_filters, read_board
    from bench.results.db.database import open_database

    runtime = open_runtime()
    database = open_database(runtime.database)
    wanted = (names["method"], names["crop"], names["task"], names["scale"], data)
    if folder is not None:
        from bench.cli._site import write_page

        filters = make_filters(database, wanted)
        with database.connect() as connection:
            click.echo(write_page(connection, runtime.home, expand_path(folder), filters))
        return
    rows, total = read_board(database, wanted, None if every or as_json else limit, validation)
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
        click.echo(
            "no result matches; try: bench leaderboard"
            if any(wanted)
            else "there is no result yet; try: bench run --method orl --task coco_det"
        )


def _select_fields(row: Mapping[str, object]) -> dict[str, object]:
    return {name: row[name] for name in FIELDS}


def _other_code(database: Database, rows: Sequence[LeaderboardRow]) -> str:
    from bench.cli._other_code import line
    from bench.results.views.lineage import changed_behind

    shown = [label for row in rows for label in row["cells"]]
    with database.connect() as connection:
        cells, names = changed_behind(connection, shown)
    return line(len(cells), "results above", names, "bench run --force")


def print_rows(rows: list[LeaderboardRow]) -> None:
    """A table per task, scale, engine and content of the data: such rows may be compared, others
    not."""
    from bench.results.views.labels import board_of, label_data

    boards: dict[tuple[str, ...], list[LeaderboardRow]] = {}
    for row in rows:
        boards.setdefault(board_of(row), []).append(row)
    labels = label_data(rows)
    for number, members in enumerate(boards.values()):
        if number:
            click.echo()
        _print_board(members, labels)


def _print_board(rows: list[LeaderboardRow], labels: Mapping[tuple[str, str], str]) -> None:
    from bench.results.views.labels import label_rows

    first = rows[0]
    task, scale, engine = first["task"], first["scale"], first["engine"]
    pretrain = labels[first["pretrain_data"], first["pretrain_data_key"]]
    task_data = labels[first["task_data"], first["task_data_key"]]
    with_engine = f", engine {engine}" if engine else ""
    names = _metric_names(rows)
    notes: list[str] = []
    lines = []
    marks = _find_marks(rows, names)
    for at, (row, label) in enumerate(zip(rows, label_rows(rows), strict=True)):
        source = row["source"]
        label = label if source == "measured" else f"{label} ({source})"
        changed = " ".join(f"--set {k}={v}" for k, v in row["overrides"].items())
        if changed:
            notes += [changed] * (changed not in notes)
            label += f" *{notes.index(changed) + 1}"
        if row["dead"]:
            label += " (dead)"
        cells = (_cell(row, name) + marks.get((at, name), "") for name in names)
        lines.append((label, row["crop"], str(len(row["seeds"])), *cells))
    print_table(
        [
            Column("method", key=True),
            Column("crop", key=True),
            Column("seeds", right=True, key=True),
            *(Column(name, right=True) for name in names),
        ],
        lines,
        f"{task} ({scale}; pretrained on {pretrain}, scored on {task_data}{with_engine})",
    )
    for number, note in enumerate(notes, 1):
        echo_prose(f"*{number} {note}", "   ", "")
    if any(row["dead"] for row in rows):
        echo_prose(f"(dead) {DEAD_TEXT}", "   ", "")
    if line := _explain_marks(rows, bool(marks)):
        echo_prose(line, "   ", "")


def _find_marks(rows: list[LeaderboardRow], names: Sequence[str]) -> dict[tuple[int, str], str]:
    """The sign behind a row's number in a column of several rows; nothing where all numbers of the
    table are of one seed."""
    from bench.results.views.marks import SIGNS, mark_column

    signs: dict[tuple[int, str], str] = {}
    for name in names if len(rows) > 1 else ():
        having = [at for at, row in enumerate(rows) if name in row["scores"] and not row["dead"]]
        marks = mark_column([rows[at]["scores"][name] for at in having])
        signs |= {(at, name): f" {SIGNS[mark]}" for at, mark in zip(having, marks, strict=True)}
    return signs if set(signs.values()) - {f" {SIGNS['unknown']}"} else {}


def _explain_marks(rows: list[LeaderboardRow], signed: bool) -> str:
    """What the signs mean; where there are none, why nothing is called best."""
    from bench.results.views.marks import MEANINGS, SIGNS

    if signed:
        return "; ".join(f"{sign} {MEANINGS[m]}" for m, sign in SIGNS.items()) + "."
    if len(rows) > 1:
        return "Which row is best is unknown: that takes two seeds or more of several rows."
    return ""


def _metric_names(rows: list[LeaderboardRow]) -> list[str]:
    headline = rows[0]["headline"]
    return list(dict.fromkeys([headline, *(name for row in rows for name in row["metrics"])]))


def _cell(row: LeaderboardRow, name: str) -> str:
    metric = row["metrics"].get(name)
    if metric is None:
        return "-"
    text = f"{metric['mean']:.1f}"
    return text if metric["ci95"] is None else f"{text} ± {metric['ci95']:.1f}"
