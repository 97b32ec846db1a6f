"""The runner of data stages, and what datasets share: worker processes, checks of every image."""

from __future__ import annotations

import ctypes
import importlib
import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar, cast

from bench import registry
from bench.data.base import Data
from bench.engine.context import StageContext
from bench.engine.signals import held_back
from bench.errors import BadData

T = TypeVar("T")
R = TypeVar("R")


def run(ctx: StageContext) -> None:
    """Make a data stage's folder."""
    data = cast(Data, registry.load("data", ctx.stage.name).from_identity(dict(ctx.params["params"])))
    data.run(ctx)


def write_sample(data: type[Data], root: Path, n_train: int, n_val: int, seed: int = 0) -> None:
    """Write generated scenes under `root` in the official layout of a set (`Data.sample`)."""
    module, _, function = data.sample.partition(":")
    write = getattr(importlib.import_module(module), function)
    root.mkdir(parents=True, exist_ok=True)
    write(root, n_train, n_val, seed)


def die_with_parent() -> None:
    """In a worker process: leave Ctrl-C to the parent, and go when it goes (Linux)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    with suppress(ImportError):
        import cv2

        cv2.setNumThreads(0)
    if "torch" in sys.modules:  # a fork of a process that has used OpenMP threads must not start its own
        import torch

        torch.set_num_threads(1)


_function: Callable[[Any], Any]  # a worker's


def _start_worker(function: Callable[[Any], Any]) -> None:
    global _function
    _function = function
    die_with_parent()
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _call(item: Any) -> Any:
    return _function(item)


def start_worker(number: int) -> None:
    """`worker_init_fn` of a DataLoader: one torch thread, and the process dies with its parent."""
    die_with_parent()


def parallel(function: Callable[[T], R], items: Iterable[T], workers: int, chunk: int = 8) -> Iterator[R]:
    """function over items, results in the items' order; in this process where workers < 2.

    A worker gets the function once, when it starts: a network in it would else be sent with every chunk. It
    is born deaf: SIGTERM, which ends it when all is done, would else go to a handler of this process that it
    still has in its first moments.
    """
    if workers < 2:
        yield from map(function, items)
        return
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with held_back():
        pool = context.Pool(workers, _start_worker, (function,))
    with pool:
        yield from pool.imap(_call, items, chunk)


def read_splits(
    ctx: StageContext, function: Callable[[T], R | str], splits: Mapping[str, Sequence[T]], chunk: int = 8
) -> dict[str, list[R]]:
    """`function` of every item of every split, in their order, with progress.

    A text it returns says what is wrong with its item: they are collected, and BadData names the first.
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
