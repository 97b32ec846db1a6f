"""The runner of data stages, and what datasets share: worker processes, checks of every image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar, cast

from bench.contracts import registry
from bench.contracts.context import StageContext
from bench.contracts.data import Data
from bench.core.errors import BadData, BadInput
from bench.core.processes import parallel

T = TypeVar("T")
R = TypeVar("R")


def run(ctx: StageContext) -> None:
    """Make a data stage's folder; BadData where the files are not, or no longer, those whose
    content the key names."""
    data = cast(
        Data, registry.load("data", ctx.stage.name).from_identity(dict(ctx.params["params"]))
    )
    _check_unchanged(data, ctx)
    data.run(ctx)
    _check_unchanged(data, ctx)


def _check_unchanged(data: Data, ctx: StageContext) -> None:
    """The files give the planned key again. Hashes of files that are the same are remembered, so
    this lists the folders once more."""
    if not data.needs_path:
        return
    root = ctx.runtime.roots[ctx.stage.key]
    if data.stage(root, ctx.runtime.model_copy(update={"roots": {}})).key != ctx.stage.key:
        raise BadData(
            f"the files of data {data.name!r} at {root} changed since this run began; run the "
            "same command again"
        )


def write_sample(data: type[Data], root: Path, n_train: int, n_val: int, seed: int = 0) -> None:
    """Write generated scenes under `root` in the official layout of a set (`Data.sample`);
    BadInput for a set that is generated itself."""
    write = data.sample()
    if write is None:
        raise BadInput(
            f"data {data.name!r} is generated and has no layout to write; try: --data {data.name}"
        )
    root.mkdir(parents=True, exist_ok=True)
    write(root, n_train, n_val, seed)


def read_splits(
    ctx: StageContext,
    function: Callable[[T], R | str],
    splits: Mapping[str, Sequence[T]],
    chunk: int = 8,
) -> dict[str, list[R]]:
    """`function` of every item of every split, in their order, with progress.

    A text it returns says what is wrong with its item:
    they are collected, and BadData names the first.
    """
    results: dict[str, list[R]] = {}
    bad: list[str] = []
    for split, items in splits.items():
        advance = ctx.progress.task(f"check {split}", len(items))
        results[split] = []
        for result in parallel(function, items, ctx.runtime.workers, chunk):
            advance(1)
            if isinstance(result, str):
                bad.append(result)
            else:
                results[split].append(result)
    if bad:
        raise BadData.of(bad)
    return results
