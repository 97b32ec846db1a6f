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
    """Make a data stage's folder."""
    data = cast(
        Data, registry.load("data", ctx.stage.name).from_identity(dict(ctx.params["params"]))
    )
    data.run(ctx)


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

    A text it returns says what is wrong with its item: they are collected, and BadData names the
    first.
    """
    found: dict[str, list[R]] = {}
    bad: list[str] = []
    for split, items in splits.items():
        advance = ctx.progress.task(f"check {split}", len(items))
        found[split] = []
        for made in parallel(function, items, ctx.runtime.workers, chunk):
            advance(1)
            if isinstance(made, str):
                bad.append(made)
            else:
                found[split].append(made)
    if bad:
        raise BadData.of(bad)
    return found
