"""Files that are whole or not there, and the hash of a file's content."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.core.errors import BadInput, StageFailed


def expand_path(given: str | Path) -> Path:
    """The absolute path of what a user wrote, `~` and `~name` being home folders; BadInput where
    nobody has that name."""
    text = os.path.expanduser(given)
    if text.startswith("~"):
        raise BadInput(f"no user {text.partition('/')[0][1:]!r} has a home folder, got {text!r}")
    return Path(text).absolute()


@contextmanager
def write_atomically(path: Path, shared: bool = False) -> Iterator[Path]:
    """Give the block a path to write to; at its end, sync that file and rename it to `path`.

    A reader sees the old file or the whole new one, whenever the process is killed. Where the
    block raises, `path` stays as it was. The file beside it is called `NAME.part`, so that the
    next try overwrites what a killed one left; `shared` adds the process's number to that name,
    for files that several processes may write at once.

        with write_atomically(folder / "scores.npy") as partial, open(partial, "wb") as file:
            np.save(file, scores)
    """
    ending = f".{os.getpid()}.part" if shared else ".part"
    partial = path.with_name(path.name + ending)
    yield partial
    sync(partial)
    os.replace(partial, path)


def write_bytes(path: Path, content: bytes, shared: bool = False) -> None:
    """Write bytes atomically (`write_atomically`)."""
    with write_atomically(path, shared) as partial:
        partial.write_bytes(content)


def write_text(path: Path, content: str, shared: bool = False) -> None:
    """Write text as UTF-8 atomically (`write_atomically`)."""
    write_bytes(path, content.encode(), shared)


def write_json(path: Path, value: Any) -> None:
    """Write JSON with sorted keys atomically (`write_atomically`); StageFailed where the disk is
    full or cannot be written, ValueError for numbers that are not finite."""
    try:
        write_text(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")
    except OSError as error:
        raise StageFailed(
            f"cannot write {path.name}: {error.strerror}; free space and run again"
        ) from None


def sync(path: Path) -> None:
    """Wait until a file or folder is on the disk (fsync)."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def hash_file(path: Path) -> str:
    """sha256 of a file's bytes, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
