"""bench data list: every set, its size, its tasks and where it is here."""

from __future__ import annotations

from collections.abc import Sequence

import click

from bench.cli._options import JSON, say_left_out
from bench.cli._table import echo_prose, print_json
from bench.cli.data._sets import SetRow, describe_named, describe_set, whereabouts
from bench.contracts import registry
from bench.core.errors import BenchError

SHOWN = 8  # tasks of a set that the list names


@click.command("list")
@JSON()
def list_sets(as_json: bool) -> None:
    """List every set: its size to download, the tasks that use it, and where it is here."""
    usable, reasons = registry.load_all("data")
    rows = [describe_set(name) for name in usable]
    named = _list_named()
    for reason in reasons.values():
        say_left_out(f"left out: {reason}")
    if as_json:
        print_json([*rows, *named])
        return
    from bench.contracts.data import size_text

    width = max(len(row["name"]) for row in (*rows, *named))
    hanging = " " * (width + 2)
    for row in rows:
        size = size_text(row["megabytes"]) if row["files"] else "no download"
        tasks = ", ".join(row["tasks"][:SHOWN]) or "no task by default"
        tasks += f" and {len(row['tasks']) - SHOWN} more" if len(row["tasks"]) > SHOWN else ""
        echo_prose(row["summary"], hanging, f"{row['name']:<{width}}  ")
        echo_prose(f"{size}; {whereabouts(row)}; {tasks}", hanging)
    _print_named(named, width)
    click.echo("How to get one: bench data prepare NAME")


def _list_named() -> list[SetRow]:
    from bench.plan.named import find_named, named_names

    rows = []
    for name in named_names():
        try:
            named = find_named(name)
        except BenchError as error:
            say_left_out(f"left out: {error}")
            continue
        if named:
            rows.append(describe_named(named))
    return rows


def _print_named(rows: Sequence[SetRow], width: int) -> None:
    """The sets that the user named."""
    if rows:
        click.echo("Named by bench data add:")
    for row in rows:
        gone = "" if row["found"] else "; the folder is not there"
        echo_prose(f"{row['summary']}{gone}", " " * (width + 2), f"{row['name']:<{width}}  ")
