"""bench status: what is queued, running and failed."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from bench.cli._options import JSON
from bench.cli._table import Column, echo_prose, print_json, print_table

if TYPE_CHECKING:
    from bench.launch.status import JobStatus
    from bench.results.db.records import StoredCell

STATES = ("queued", "running", "failed", "done", "lost", "unknown")  # of jobs
OPEN = ("running", "interrupted", "failed")  # states of cells that are shown


@click.command()
@JSON()
def command(as_json: bool) -> None:
    """Show what is queued, running and failed.

    First come the stages that are jobs of a Slurm cluster (bench run --launcher slurm), then the
    processes that make stages now, on every machine that shares BENCH_HOME, then the cells that
    are not done. A job that is done is recorded when the command that submitted it runs again.
    """
    from bench.core.home import home_folder
    from bench.launch.status import find_makers, read_jobs
    from bench.results.db.database import open_database
    from bench.results.db.place import database_url

    home = home_folder()
    jobs, makers = read_jobs(home), list(find_makers(home))
    database = open_database(database_url())
    cells = [cell for state in OPEN for cell in database.read_cells(state)]
    if as_json:
        states: Counter[str] = Counter(job["state"] for job in jobs)
        counts = {state: states[state] for state in STATES}
        shown = [_describe(cell) for cell in cells]
        print_json({"jobs": jobs, "counts": counts, "makers": makers, "cells": shown})
        return
    _print_jobs(jobs)
    for maker in makers:
        click.echo(f"made now: {maker['stage']} {maker['key']} by {maker['owner']}")
    for cell in cells:
        about = _describe(cell)
        why = f": {about['reason']}" if about["reason"] else ""
        who = f"{about['method']} x {about['crop']} x {about['task']} seed {about['seed']}"
        echo_prose(f"{about['state']}: {who} ({about['key'][:12]}){why}", "  ", "")
    if not (jobs or makers or cells):
        click.echo("nothing is queued, running or failed; next: bench leaderboard")


def _print_jobs(jobs: list[JobStatus]) -> None:
    if not jobs:
        return
    print_table(
        [
            Column("state", key=True),
            Column("job", key=True),
            Column("stage"),
            Column("node"),
            Column("time"),
            Column("about", wrap=True),
        ],
        [
            (
                job["state"],
                job["job"],
                job["stage"],
                job["node"],
                f"{job['elapsed']} of {job['limit']}" if job["state"] == "running" else "",
                job["last"] if job["state"] == "running" else job["reason"],
            )
            for job in jobs
        ],
    )
    counts = Counter(job["state"] for job in jobs)
    click.echo(", ".join(f"{count} {state}" for state, count in counts.items()))
    failed = next((job for job in jobs if job["state"] in ("failed", "lost")), None)
    if failed:
        click.echo(f"output: {failed['output']}")


def _describe(cell: StoredCell) -> dict[str, Any]:
    names = ("method", "crop", "task", "scale", "seed", "state", "reason")
    return {"key": cell["label"], **{name: cell[name] for name in names}}  # type: ignore[literal-required]
