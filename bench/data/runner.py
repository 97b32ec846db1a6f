"""The runner of data stages, and what datasets share: worker processes, checks of every image."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from bench.contracts import registry
from bench.contracts.context import StageContext
from bench.contracts.data import Data
from bench.core.errors import BadData, BadInput
from bench.core.files import hash_file
from bench.core.image import note_reads
from bench.core.processes import parallel
from bench.core.stage import Stage
from bench.data.contents import changed, identify, keep_hashes

T = TypeVar("T")
R = TypeVar("R")


def run(ctx: StageContext) -> None:
    """Make a data stage's folder; BadData where the files are not, or no longer, those whose
    content the key names."""
    data = cast(
        Data, registry.load("data", ctx.stage.name).from_identity(dict(ctx.params["params"]))
    )
    if not data.needs_path:
        return data.run(ctx)
    _check_unchanged(data, ctx)
    began = time.time_ns()
    with _collect_hashes() as hashes:
        data.run(ctx)
    keep_hashes(ctx, _check_unchanged(data, ctx), hashes, began)


def _check_unchanged(data: Data, ctx: StageContext) -> Stage:
    """The files give the planned key again. Hashes of files that are the same are remembered, so
    this lists the folders once more. Returns the stage as it is called by names and sizes
    alone."""
    root = ctx.runtime.roots[ctx.stage.key]
    runtime = ctx.runtime.model_copy(update={"roots": {}})
    if identify(data, root, runtime).key != ctx.stage.key:
        raise changed(data.name, root)
    return data.stage(root, runtime)


_hashes: ContextVar[dict[Path, str] | None] = ContextVar("hashes", default=None)


@contextmanager
def _collect_hashes() -> Iterator[dict[Path, str]]:
    """In the block: the hash of every image that `read_splits` has read."""
    hashes: dict[Path, str] = {}
    token = _hashes.set(hashes)
    try:
        yield hashes
    finally:
        _hashes.reset(token)


class _Hashing(Generic[T, R]):
    """`function`, and the hashes of the images that it reads; where it reads a header alone, the
    file is read for that."""

    def __init__(self, function: Callable[[T], R | str]) -> None:
        self.function = function

    def __call__(self, item: T) -> tuple[R | str, dict[Path, str]]:
        with note_reads() as reads:
            result = self.function(item)
        if isinstance(result, str):  # it is damaged
            return result, {}
        return result, {path: sha or hash_file(path) for path, sha in reads.items()}


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
    hashes = _hashes.get()
    hashing = _Hashing(function)
    for split, items in splits.items():
        advance = ctx.progress.task(f"check {split}", len(items))
        results[split] = []
        for result, read in parallel(hashing, items, ctx.runtime.workers, chunk):
            advance(1)
            if isinstance(result, str):
                bad.append(result)
                continue
            results[split].append(result)
            if hashes is not None:
                hashes.update(read)
    if bad:
        raise BadData.of(bad)
    return results


def note_repairs(ctx: StageContext, where: str, counts: Mapping[str, Any]) -> None:
    """Say while the index is made what was changed or left out, and what is odd."""
    if counts["clipped"] or counts["dropped"]:
        ctx.progress.note(
            f"{where}: {counts['clipped']} boxes clipped to their image, "
            f"{counts['dropped']} empty ones dropped"
        )
    for remark in counts.get("remarks", ()):
        ctx.progress.note(f"{where}: {remark}")
