"""bench track: what trackers keep on this machine."""

from __future__ import annotations

import sys

import click

from bench.cli._options import JSON
from bench.cli._table import print_json
from bench.cli._tracking import WANDB_ENTITY, WANDB_PROJECT
from bench.launch.session import open_runtime


@click.group()
def command() -> None:
    """Send tracked runs that were kept offline."""


@command.command()
@WANDB_PROJECT(help="W&B project to send all of them to. The default is that of each run.")
@WANDB_ENTITY(help="W&B account or team to send all of them to.")
@click.option("--dry-run", is_flag=True, help="Print what would be sent, and send nothing.")
@JSON(help="Print the folders of the runs as JSON, and send nothing.")
def sync(
    wandb_project: str | None, wandb_entity: str | None, dry_run: bool, as_json: bool
) -> None:
    """Send the W&B runs in BENCH_HOME that were kept offline and have not been sent.

    Runs are sent to the server and the account that wandb login knows. The results database is
    not touched.
    """
    from bench.launch.wandb_sync import check_login, list_offline_runs, send

    folders = list_offline_runs(open_runtime().home)
    if as_json:
        return print_json([str(folder) for folder in folders])
    if not folders:
        return click.echo("no offline run is left to send")
    if dry_run:
        for folder in folders:
            click.echo(folder)
        return click.echo(f"{len(folders)} run(s) would be sent")
    click.echo(f"sending {len(folders)} run(s) to {check_login().server}")
    code = send(folders, wandb_project or "", wandb_entity or "")
    left = len(list_offline_runs(open_runtime().home))
    click.echo(f"{len(folders) - left} run(s) sent, {left} left")
    sys.exit(1 if code or left else 0)
