"""bench results: check, export, import or rebuild the results database."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli._common import open_runtime
from bench.core.errors import BadInput

if TYPE_CHECKING:
    from bench.results.db.records import ResultRecord


@click.group()
def command() -> None:
    """Check, export, import or rebuild the results database."""


@command.command()
@click.option("--json", "as_json", is_flag=True)
def check(as_json: bool) -> None:
    """Verify every committed file and every result; exit code 1 if something is wrong."""
    from bench.results.db.database import open_database
    from bench.results.db.rebuild import find_problems

    runtime = open_runtime()
    found = find_problems(runtime.home / "store", open_database(runtime.database))
    if as_json:
        click.echo(json.dumps(found, indent=1))
    else:
        click.echo("\n".join(found) if found else "every file and result is as it was written")
    sys.exit(1 if found else 0)


@command.command()
@click.option(
    "--format", "form", type=click.Choice(["json", "csv"]), default="json", show_default=True
)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="A file; default: stdout."
)
def export(form: str, out: Path | None) -> None:
    """Write every result: json (whole records) or csv (a line per metric)."""
    from bench.results.db.database import open_database

    results = open_database(open_runtime().database).read_results()
    text = (
        json.dumps(results, indent=1, sort_keys=True) + "\n" if form == "json" else _csv(results)
    )
    if out is None:
        click.echo(text, nl=False)
        return
    try:
        out.write_text(text)
    except OSError as error:
        raise BadInput(
            f"{out} cannot be written ({error.strerror}); try: --out FILE elsewhere"
        ) from None
    click.echo(f"{len(results)} results written to {out}", err=True)


def _csv(results: list[ResultRecord]) -> str:
    names = ("method", "crop", "task", "scale", "pretrain_data", "task_data", "engine", "seed")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*names, "overrides", "source", "metric", "value", "key"])
    for result in results:
        cell: Mapping[str, object] = result["cell"]
        fixed = [
            *(cell[n] for n in names),
            json.dumps(cell["overrides"], sort_keys=True),
            result.get("source"),
        ]
        for name in result["order"]:
            writer.writerow([*fixed, name, repr(result["metrics"][name]), cell["label"]])
    return text.getvalue()


@command.command("import")
@click.argument("file", type=click.Path(path_type=Path))
def import_(file: Path) -> None:
    """Add results another bench exported (json); they stay apart from what is measured here."""
    from bench.results.db.database import open_database
    from bench.results.db.result_file import check_record

    try:
        records = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise BadInput(
            f"{file} cannot be read as JSON ({error}); try: bench results export"
        ) from None
    if not isinstance(records, list):
        raise BadInput(f"{file} is no list of results; try: bench results export --out FILE")
    results = [check_record(r, f"{file}, result {at}") for at, r in enumerate(records)]
    database = open_database(open_runtime().database)
    for result in results:
        database.record_result(result, source="imported")
    click.echo(f"{len(results)} results imported")


@command.command()
def rebuild() -> None:
    """Restore the database from the result.json files in the store."""
    from bench.results.db.database import open_database
    from bench.results.db.rebuild import rebuild as restore

    runtime = open_runtime()
    stages, results = restore(runtime.home / "store", open_database(runtime.database))
    click.echo(f"{stages} stages and {results} results recorded")
