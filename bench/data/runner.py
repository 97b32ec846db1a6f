"""The runner of data stages, and what datasets share: parallel decoding checks, fingerprints."""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar, cast

from bench import registry
from bench.data.base import Data
from bench.engine.context import StageContext
from bench.errors import BadData
from bench.params import digest

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


def _call(item: Any) -> Any:
    return _function(item)


def start_worker(number: int) -> None:
    """`worker_init_fn` of a DataLoader: one torch thread, and the process dies with its parent."""
    die_with_parent()


def parallel(function: Callable[[T], R], items: Iterable[T], workers: int, chunk: int = 8) -> Iterator[R]:
    """function over items, results in the items' order; in this process where workers < 2.

    A worker gets the function once, when it starts: a network in it would else be sent with every chunk.
    """
    if workers < 2:
        yield from map(function, items)
        return
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with context.Pool(workers, _start_worker, (function,)) as pool:
        yield from pool.imap(_call, items, chunk)


def fingerprint(files: Iterable[Path], listings: Iterable[Path], cache: Path) -> str:
    """sha256 over the content of `files` and the sorted (name, size) listing of the folders `listings`.

    Files count with their names; `content_hash` is of one file's content alone.
    """
    parts: list[Any] = [[f.name, content_hash(f, cache)] for f in files]
    for folder in listings:
        with os.scandir(folder) as entries:
            parts.append([folder.name, sorted([e.name, e.stat().st_size] for e in entries if e.is_file())])
    return digest(parts)


def content_hash(file: Path, cache: Path) -> str:
    """sha256 hex of a file's bytes, remembered under `cache` by path, size and modification time."""
    stat = file.stat()
    marker = cache / "hashes" / (digest([str(file), stat.st_size, stat.st_mtime_ns])[:32] + ".json")
    with suppress(OSError, ValueError):
        return str(json.loads(marker.read_text()))
    with open(file, "rb") as f:
        found = hashlib.file_digest(f, "sha256").hexdigest()
    with suppress(OSError):
        marker.parent.mkdir(parents=True, exist_ok=True)
        partial = marker.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(found))
        partial.replace(marker)
    return found


def read_json(file: Path, what: str) -> Any:
    """Parsed JSON, or BadData saying that the file is missing or half-written."""
    try:
        return json.loads(file.read_bytes())
    except FileNotFoundError:
        raise BadData(f"{what} are missing: {file}; download them again") from None
    except (OSError, ValueError) as error:
        raise BadData(f"{what} cannot be read, half-written? {file}: {error}; download them again") from None
