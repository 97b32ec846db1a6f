"""Worker processes that die with their parent, and functions over many items in them."""

from __future__ import annotations

import ctypes
import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, TypeVar

from bench.core.signals import accept_stop, hold_back_stop

T = TypeVar("T")
R = TypeVar("R")


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
    # a fork of a process that has used OpenMP threads must not start its own
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(1)


_function: Callable[[Any], Any]  # a worker's


def _start_worker(function: Callable[[Any], Any]) -> None:
    global _function
    _function = function
    die_with_parent()
    accept_stop()


def _call(item: Any) -> Any:
    return _function(item)


def start_worker(number: int) -> None:
    """`worker_init_fn` of a DataLoader: one torch thread, and the process dies with its parent."""
    die_with_parent()


def parallel(
    function: Callable[[T], R], items: Iterable[T], workers: int, chunk: int = 8
) -> Iterator[R]:
    """function over items, results in the items' order; in this process where workers < 2.

    A worker gets the function once, when it starts: a network in it would else be sent with every
    chunk. SIGTERM, which ends it when all is done, is held back until it has started: in its first
    moments it still has the handler of this process.
    """
    if workers < 2:
        yield from map(function, items)
        return
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with hold_back_stop():
        pool = context.Pool(workers, _start_worker, (function,))
    with pool:
        yield from pool.imap(_call, items, chunk)
