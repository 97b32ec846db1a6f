"""bench gc: free disk space; results are never dropped."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import click

from bench.core.store import SCRATCH, Store
from bench.launch.session import open_runtime

DROPPABLE = ("features", "neighbours", "pairs", "proposals", "pretrain", "weights", "file", "data")


@click.command()
@click.option(
    "--stages",
    is_flag=True,
    help="Also delete finished stages that can be made again; results are always kept.",
)
@click.option(
    "--yes", is_flag=True, help="Delete. Without this, only print what would be deleted."
)
def command(stages: bool, yes: bool) -> None:
    """Free disk space: delete partial work, damaged folders and, with --stages, finished stages.

    Results are never deleted.
    """
    store = Store(open_runtime().home)
    total = 0
    for folder in _targets(store, stages):
        size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
        total += size
        click.echo(f"{size / 2**20:9.1f} MiB  {folder.relative_to(store.home)}")
        if yes:
            shutil.rmtree(folder, ignore_errors=True)
    what = (
        "freed"
        if yes
        else "would be freed; to free it: bench gc --yes" + (" --stages" if stages else "")
    )
    click.echo(f"{total / 2**20:.1f} MiB {what}")


def _targets(store: Store, stages: bool) -> Iterator[Path]:
    import fcntl

    for folder in sorted((store.home / "work").glob("*")):
        lock = store.home / "locks" / f"{folder.name}.lock"
        try:
            with open(lock, "a") as handle:
                fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue  # somebody is making it now
        if folder.is_dir():
            yield folder
    if (store.home / "damaged").is_dir():
        yield from sorted((store.home / "damaged").iterdir())
    for folder, record in store.committed():
        if stages and record["kind"] in DROPPABLE:
            yield folder
        elif (folder / SCRATCH).is_dir():  # its commit was killed before that was dropped
            yield folder / SCRATCH
