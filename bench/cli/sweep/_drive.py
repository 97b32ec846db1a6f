"""Running the trials of a sweep in workers, with a live table of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import click

from bench.cli.sweep._study import MORE, data_places

if TYPE_CHECKING:
    from bench.core.params import Runtime
    from bench.results.views.studies import TrialRow
    from bench.sweep.setup import Setup
    from bench.sweep.study import Sweep


def drive_trials(
    sweep: Sweep,
    runtime: Runtime,
    workers: int,
    until: float,
    options: Mapping[str, Any],
    quiet: bool,
) -> None:
    """Run the trials in `workers` processes of this command until all are done or time is over."""
    from bench.launch.launchers import gpu_groups
    from bench.sweep.drive import Pool

    def start(number: int) -> list[str]:
        code = "from bench.cli import main; main()"
        more = [
            x
            for name in MORE
            if options[name]
            for x in (f"--{name.replace('_', '-')}", options[name])
        ]
        return [
            sys.executable,
            "-c",
            code,
            "sweep",
            "--study",
            sweep.name,
            *more,
            "--devices",
            str(runtime.devices),
            "--loaders",
            str(runtime.workers),
            "--worker-of",
            str(os.getpid()),
            "--until",
            str(until),
        ]

    logs = runtime.home / "sweeps" / sweep.name
    pool = Pool(sweep, workers, start, logs, until, gpu_groups(runtime))
    screen = _Screen(sweep.setup, quiet)
    with screen:
        pool.run(screen.show)


class _Screen:
    """A live table in a terminal; elsewhere a line for every trial that ends."""

    def __init__(self, setup: Setup, quiet: bool) -> None:
        from rich.console import Console
        from rich.live import Live

        self.setup = setup
        self.console = Console(stderr=True)
        self.live = (
            Live(console=self.console, refresh_per_second=2) if self.console.is_terminal else None
        )
        self.printed: set[int] = set()
        self.context: Any = self.live or nullcontext()

    def __enter__(self) -> None:
        self.context.__enter__()

    def __exit__(self, *error: Any) -> None:
        self.context.__exit__(*error)

    def show(self, rows: list[TrialRow], doing: dict[str, str]) -> None:
        from bench.results.views.trials import format_params, format_score
        from bench.sweep.report import make_table

        if self.live is not None:
            self.live.update(make_table(rows, self.setup, doing))
            return
        for row in rows:
            if (
                row["state"] in ("complete", "pruned", "fail")
                and row["number"] not in self.printed
            ):
                self.printed.add(row["number"])
                how = row["reason"] or ("reused" if row["made"] == 0 else row["state"])
                score = format_score(row["value"], row["ci95"])
                click.echo(
                    f"trial {row['number']}: {format_params(row['params'])}: {score} ({how})",
                    err=True,
                )


def work_on_trials(
    runtime: Runtime, study: str, options: Mapping[str, Any], driver: int, until: float
) -> None:
    """Be a worker of the process `driver`: run trials one after another."""
    from bench.cli._engine import open_engine
    from bench.sweep.drive import follow
    from bench.sweep.study import Sweep
    from bench.sweep.work import Work

    follow(driver)
    sweep = Sweep.load(runtime.database, study)
    with open_engine(runtime) as (engine, _):
        Work(sweep, runtime, data_places(options), engine.listener, engine.progress, until).run()
