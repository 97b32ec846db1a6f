"""What a running sweep shows: a live table in a terminal, lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from bench.api.sweeping import Show
    from bench.results.views.studies import TrialRow
    from bench.sweep.study import Sweep


@contextmanager
def show_trials(sweep: Sweep, parallel: int) -> Iterator[Show]:
    """What shows the trials while they run."""
    from rich.console import Console
    from rich.live import Live

    from bench.sweep.lines import TrialLines
    from bench.sweep.report import make_table

    console = Console(stderr=True)
    if not console.is_terminal:
        yield TrialLines(sweep, _print_line, parallel)
        return
    with Live(console=console, refresh_per_second=2) as live:

        def show(rows: list[TrialRow], doing: dict[str, str]) -> None:
            live.update(make_table(rows, sweep.setup, doing))

        yield show


def _print_line(text: str) -> None:
    click.echo(text, err=True)
