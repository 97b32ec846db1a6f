"""What the verbs of bench perf share: options, reports, tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from bench.cli._options import shared
from bench.cli._table import echo_prose
from bench.core.errors import BadInput

REPORT = shared(
    "--json",
    "json_file",
    is_flag=False,
    flag_value="-",
    metavar="[FILE]",
    help="Print everything as JSON instead of as text; with FILE, for example speed.json, write "
    "it there beside the table.",
)
REPEATS = shared(
    "--repeats",
    default=3,
    show_default=True,
    type=click.IntRange(1, 1000),
    help="Number of timings of each way, which take turns; the table shows medians.",
)


def parse_numbers(option: str, text: str, least: int = 1) -> list[int]:
    """The numbers of a comma list, none below `least`."""
    try:
        values = [int(part) for part in text.split(",")]
    except ValueError:
        values = []
    if not values or min(values) < least:
        kind = "positive numbers" if least else "numbers from 0"
        raise BadInput(f"{option} is a list of {kind}, got {text!r}; try: {option} {least},2")
    return values


def write_report(
    report: dict[str, Any], json_file: str | None, table: Callable[[dict[str, Any]], None]
) -> None:
    """The report as JSON to stdout, or as a table and, if asked, as JSON to a file."""
    text = json.dumps(report, indent=1, allow_nan=False)
    if json_file == "-":
        click.echo(text)
        return
    machine = report["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    echo_prose(
        f"{machine['cpu']}, {machine['cores']} cores, bf16 {'yes' if machine['bf16'] else 'no'}; "
        f"{versions}"
    )
    echo_prose(
        f"load average {machine['load']:.1f} before and {report['load_after']:.1f} after: where "
        "other programs had the cores, trust ratios and not times"
    )
    click.echo()
    table(report)
    if json_file:
        try:
            Path(json_file).write_text(text + "\n")
        except OSError as error:
            raise BadInput(f"--json {json_file} cannot be written: {error.strerror}") from None
