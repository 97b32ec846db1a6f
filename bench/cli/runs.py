"""bench runs: what was run, the newest first."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import click

from bench.cli._options import CROP, JSON, METHOD, SCALE, TASK
from bench.cli._table import Column, print_json, print_table

if TYPE_CHECKING:
    from bench.results.db.records import RunRecord


@click.command()
@METHOD(help="Show only these methods, for example byol,moco*.")
@CROP(help="Show only these crops, for example gt,obj_*.")
@TASK(help="Show only these tasks, for example voc07_*.")
@SCALE(default=None, help="Show only this scale.")
@click.option("--mine", is_flag=True, help="Show only what this user ran.")
@click.option("--tag", help="Show only what has this tag (bench tag KEY TAG).")
@click.option(
    "--limit",
    default=20,
    show_default=True,
    type=click.IntRange(0),
    help="Most cells to show; 0 is all.",
)
@JSON()
def command(
    method: str | None,
    crop: str | None,
    task: str | None,
    scale: str | None,
    mine: bool,
    tag: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """List cells of every state, the last changed first, with their score, user, tags and note.

    bench note and bench tag write about a cell; bench show KEY shows all of it.
    """
    from bench.api.journal import list_runs

    runs = list_runs(limit or None, mine, tag, method, crop, task, scale)
    if as_json:
        print_json(runs)
        return
    if not runs:
        click.echo("no such cell was run; try: bench run --method orl --task coco_det")
        return
    print_table(
        [
            Column("key", key=True),
            Column("changed"),
            Column("state"),
            *(Column(name) for name in ("method", "crop", "task", "scale")),
            Column("seed", right=True),
            Column("score", right=True),
            Column("metric"),
            Column("user"),
            Column("tags"),
            Column("note", wrap=True),
        ],
        [_row(run) for run in runs],
    )


def _row(run: RunRecord) -> tuple[str, ...]:
    changed = run["changed"]
    imported = " (imported)" if run["source"] == "imported" else ""
    return (
        run["label"][:12],
        f"{datetime.fromtimestamp(changed):%Y-%m-%d %H:%M}" if changed else "",
        f"{run['state']}{imported}",
        run["method"],
        run["crop"],
        run["task"],
        run["scale"],
        str(run["seed"]),
        "" if run["value"] is None else f"{run['value']:.1f}",
        run["headline"],
        run["user"],
        ",".join(run["tags"]),
        " ".join((run["note"] or run["reason"] or "").split()),
    )
