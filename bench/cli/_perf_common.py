"""What the verbs of bench perf share: options, reports, tables."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from bench.core.errors import BadInput

JSON = click.option(
    "--json",
    "json_file",
    metavar="FILE|-",
    help="Write the figures as JSON; -: to stdout, no table.",
)
REPEATS = "Timings of each way, in turns; the table shows medians."


def numbers(option: str, text: str, least: int = 1) -> list[int]:
    """The numbers of a comma list, none below `least`."""
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < least:
        kind = "positive numbers" if least else "numbers from 0"
        raise BadInput(f"{option} is a list of {kind}, got {text!r}; try: {option} {least},2")
    return found


def write_report(
    report: dict[str, Any], json_file: str | None, table: Callable[[dict[str, Any]], None]
) -> None:
    """The report as JSON to stdout, or as a table and, if asked, as JSON to a file."""
    text = json.dumps(report, indent=1, allow_nan=False)
    if json_file == "-":
        click.echo(text)
        return
    where = report["machine"]
    versions = ", ".join(f"{name} {found}" for name, found in where["versions"].items())
    click.echo(
        f"{where['cpu']}, {where['cores']} cores, bf16 {'yes' if where['bf16'] else 'no'}; "
        f"{versions}"
    )
    click.echo(
        f"load average {where['load']:.1f} before, {report['load_after']:.1f} after: others may "
        "have had the "
        "cores; trust ratios"
    )
    table(report)
    if json_file:
        try:
            Path(json_file).write_text(text + "\n")
        except OSError as error:
            raise BadInput(f"--json {json_file} cannot be written: {error.strerror}") from None


def print_table(
    title: str, heads: tuple[str, ...], rows: Iterable[tuple[str, ...]], left: int = 1
) -> None:
    """A table on the terminal: `left` columns of text, then numbers."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for i, head in enumerate(heads):
        table.add_column(head, justify="left" if i < left else "right")
    for row in rows:
        table.add_row(*row)
    console = Console()
    if not console.is_terminal:
        console.width = 120
    console.print(table)
