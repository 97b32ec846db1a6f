"""bench gc: free disk space; results are never dropped."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import click

from bench.cli._options import JSON
from bench.cli._table import print_json
from bench.core.store import SCRATCH, Store
from bench.launch.session import open_runtime

DROPPABLE = (
    "annotations",
    "data",
    "features",
    "file",
    "neighbours",
    "pairs",
    "pretrain",
    "proposals",
    "weights",
)


@click.command()
@click.option(
    "--stages",
    is_flag=True,
    help="Also delete finished stages that can be made again; results are always kept.",
)
@click.option(
    "--yes", is_flag=True, help="Delete. Without this, only print what would be deleted."
)
@JSON()
def command(stages: bool, yes: bool, as_json: bool) -> None:
    """Free disk space: delete partial work, damaged folders and, with --stages, finished stages.

    Results are never deleted, nor is what a running command makes or reads.
    """
    store = Store(open_runtime().home)
    sizes: list[int] = []
    folders: list[str] = []

    def measure(folder: Path) -> None:
        sizes.append(sum(p.lstat().st_size for p in folder.rglob("*") if p.is_file()))

    for folder, name in _targets(store, stages):
        if yes and name:
            gone = store.remove(folder, name, measure)
        elif yes:
            measure(folder)
            shutil.rmtree(folder, ignore_errors=True)
            gone = True
        else:
            gone = _would_go(store, folder, name, measure)
        if gone:
            folders.append(str(folder.relative_to(store.home)))
            if not as_json:
                click.echo(f"{sizes[-1] / 2**20:9.1f} MiB  {folders[-1]}")
    if as_json:
        rows = [{"folder": f, "bytes": s} for f, s in zip(folders, sizes, strict=True)]
        return print_json({"deleted": yes, "folders": rows, "bytes": sum(sizes)})
    what = (
        "freed"
        if yes
        else "would be freed; to free it: bench gc --yes" + (" --stages" if stages else "")
    )
    click.echo(f"{sum(sizes) / 2**20:.1f} MiB {what}")


def _would_go(store: Store, folder: Path, name: str, measure: Callable[[Path], None]) -> bool:
    with store.hold_unused(name) if name else nullcontext(True) as free:
        if free:
            measure(folder)
        return free


def _targets(store: Store, stages: bool) -> Iterator[tuple[Path, str]]:
    """Folders to delete, each with the beginning of its stage's key, whose locks are asked; ""
    for what nobody makes or uses."""
    for folder in sorted(p for p in (store.home / "work").glob("*") if p.is_dir()):
        yield folder, folder.name
    for place in ("damaged", "trash"):  # trash: of a gc that was killed
        for folder in sorted((store.home / place).glob("*")):
            yield folder, ""
    for folder, record in store.committed():
        if stages and record["kind"] in DROPPABLE:
            yield folder, record["key"][:32]
        elif (folder / SCRATCH).is_dir():  # its commit was killed before that was dropped
            yield folder / SCRATCH, record["key"][:32]
