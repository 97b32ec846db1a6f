"""bench results: check, export, import or rebuild the results database."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from bench.cli._options import JSON
from bench.cli._table import echo_prose, print_json
from bench.core.errors import BadInput
from bench.launch.session import open_runtime

if TYPE_CHECKING:
    from bench.results.db.records import ResultRecord


@click.group()
def command() -> None:
    """Check, export, import or rebuild the results database."""


@command.command()
@JSON()
def check(as_json: bool) -> None:
    """Verify every file of the store and every result.

    The exit code is 1 if something is wrong.
    """
    from bench.results.db.database import open_database
    from bench.results.db.rebuild import find_problems

    runtime = open_runtime()
    lines = find_problems(runtime.home / "store", open_database(runtime.database))
    if as_json:
        click.echo(json.dumps(lines, indent=1))
    else:
        for line in lines or ["every file and every result is as it was written"]:
            echo_prose(line, "  ", "")
    sys.exit(1 if lines else 0)


@command.command()
@click.option(
    "--format",
    "form",
    type=click.Choice(["json", "csv"]),
    default="json",
    show_default=True,
    help="Format to write: json holds whole records, csv has a line for each metric.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write, for example results.json. Without it, print.",
)
def export(form: str, out: Path | None) -> None:
    """Write every result to a file, or print them."""
    from bench.results.db.database import open_database

    write = _write_json if form == "json" else _write_csv
    results = open_database(open_runtime().database).iterate_results()
    if out is None:
        write(sys.stdout, results)
        return
    with _open_output(out) as file:
        count = write(file, results)
    click.echo(f"{count} results written to {out}", err=True)


@contextmanager
def _open_output(out: Path) -> Iterator[TextIO]:
    """The file, which keeps what it held until all is written; BadInput where it cannot be
    written."""
    from bench.core.files import write_atomically

    try:
        special = out.exists() and not out.is_file()  # a pipe or a device
        with (
            nullcontext(out) if special else write_atomically(out) as place,
            open(place, "w", encoding="utf-8", newline="") as file,
        ):
            yield file
    except OSError as error:
        raise BadInput(
            f"--out {out} cannot be written ({error.strerror}); try: --out with another file"
        ) from None


def _write_json(file: TextIO, results: Iterable[ResultRecord]) -> int:
    """A JSON list with a line for each result; returns how many there are."""
    count = 0
    for count, result in enumerate(results, 1):
        file.write("[\n" if count == 1 else ",\n")
        file.write(json.dumps(result, sort_keys=True))
    file.write("\n]\n" if count else "[]\n")
    return count


def _write_csv(file: TextIO, results: Iterable[ResultRecord]) -> int:
    """A line for each number; returns how many results there are."""
    names = ("method", "crop", "task", "scale", "pretrain_data", "task_data", "engine", "seed")
    writer = csv.writer(file, lineterminator="\n")
    more = ("pretrain_name", "pretrain_data_key", "task_name", "task_data_key", "group")
    writer.writerow([*names, "overrides", "source", "metric", "value", "key", *more])
    count = 0
    for result in results:
        count += 1
        cell: Mapping[str, object] = result["cell"]
        fixed = [
            *(cell[n] for n in names),
            json.dumps(cell["overrides"], sort_keys=True),
            result.get("source"),
        ]
        for name in result["order"]:
            value = repr(result["metrics"][name])
            writer.writerow([*fixed, name, value, cell["label"], *(cell[n] for n in more)])
    return count


@command.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@JSON()
def import_(file: Path, as_json: bool) -> None:
    """Add the results in FILE, which bench results export wrote as JSON elsewhere.

    They stay apart from what was measured here.
    """
    from bench.results.db.checked import check_import
    from bench.results.db.database import open_database
    from bench.results.db.kept import keep_import

    try:
        records = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(
            f"{file} cannot be read as JSON ({error}); try: bench results export"
        ) from None
    if not isinstance(records, list):
        raise BadInput(f"{file} holds no list of results; try: bench results export --out FILE")
    results = check_import(records, str(file))
    runtime = open_runtime()
    imported, known = open_database(runtime.database).record_import(results, str(file))
    keep_import(runtime.home, results)
    if as_json:
        return print_json({"imported": imported, "known": known})
    more = f"; {known} more were measured already" if known else ""
    click.echo(f"{imported} results imported{more}")


@command.command()
@JSON()
def rebuild(as_json: bool) -> None:
    """Restore the results database from the files of BENCH_HOME.

    Stages, results, imports, cells that failed or are unsupported, and the trials of sweeps.
    """
    from bench.results.db.database import open_database
    from bench.results.db.rebuild import rebuild as restore
    from bench.results.db.rebuild import restore_kept
    from bench.sweep.kept import restore_studies

    def note(line: str) -> None:
        click.echo(line, err=True)

    runtime = open_runtime()
    database = open_database(runtime.database)
    stages, results = restore(runtime.home / "store", database, note)
    imported, cells = restore_kept(runtime.home, database, note)
    studies = restore_studies(runtime.home, runtime.database, note)
    if as_json:
        return print_json(
            {
                "stages": stages,
                "results": results,
                "imported": imported,
                "cells": cells,
                "sweeps": studies,
            }
        )
    click.echo(f"{stages} stages and {results} results recorded")
    if imported or cells or studies:
        click.echo(
            f"{imported} imported results, {cells} cells without a result and {studies} sweeps "
            "restored"
        )
