"""The files of a data set: what folders list, hashes remembered between runs, checks made once."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from bench.core.errors import BadData
from bench.core.files import hash_file, write_text
from bench.core.params import digest

SETTLED_NS = 2_000_000_000  # clocks of file systems tick every two seconds at worst
_ignores_remembered: ContextVar[bool] = ContextVar("ignores_remembered", default=False)

Listing = dict[str, os.stat_result]  # files by their path relative to the root of a set


def list_files(root: Path, folders: Iterable[str]) -> Listing:
    """The files that lie in the folders (not below them); a folder that is not there has none."""
    listing: Listing = {}
    for folder in sorted(set(folders)):
        with suppress(OSError), os.scandir(root / folder) as entries:
            prefix = f"{folder}/" if folder else ""
            listing |= {f"{prefix}{e.name}": e.stat() for e in entries if e.is_file()}
    return listing


def require(names: list[str], root: Path, listing: Listing) -> None:
    """BadData where one of the files is not listed:
    how many of its folder, the first, what to do."""
    first = next((name for name in names if name not in listing), None)
    if first is not None:
        folder, _, name = first.rpartition("/")
        here = [n for n in names if n.rpartition("/")[0] == folder]
        lacks = sum(n not in listing for n in here)
        raise BadData(
            f"{root / folder} lacks {lacks} of {len(here)} files, the first is {name}; unpack the "
            f"{folder.partition('/')[0]} archives again"
        )


def fingerprint(files: Iterable[Path], listings: Iterable[Path], cache: Path) -> str:
    """sha256 over the content of `files` and the sorted (name, size)
    listing of the folders `listings`.

    Files count with their names; `content_hash` is of one file's content alone.
    """
    parts: list[Any] = [[f.name, content_hash(f, cache)] for f in files]
    for folder in listings:
        with os.scandir(folder) as entries:
            parts.append(
                [folder.name, sorted([e.name, e.stat().st_size] for e in entries if e.is_file())]
            )
    return digest(parts)


def content_hash(file: Path, cache: Path) -> str:
    """sha256 hex of a file's bytes, remembered under `cache` for as long as the file is the same
    (`_identity`)."""
    return _remembered(cache, {file: file.stat()}, [str(file)], lambda: hash_file(file))


def contents_hash(root: Path, names: list[str], listing: Listing, cache: Path) -> str:
    """One hash of many small files, remembered under `cache` for as long as all of them are the
    same (`_identity`)."""
    return _remembered(
        cache,
        {root / name: listing[name] for name in names},
        [str(root), names],
        lambda: digest([[name, hash_file(root / name)] for name in names]),
    )


def _identity(stat: os.stat_result) -> list[int]:
    """What differs once a file was replaced or written to: the time of change (ctime) is the
    system's own, so that a copy with its time stamp kept is seen too."""
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino, stat.st_dev]


def _remembered(
    cache: Path, files: Mapping[Path, os.stat_result], about: Any, find: Callable[[], str]
) -> str:
    """`find()`, the hash of these files, asked once for as long as they are the same.

    It is not remembered where a file was changed less than two seconds ago: a second change may
    then have the same time. A cache that cannot be written only costs time.
    """
    start = time.time_ns()
    known = [about, [_identity(stat) for stat in files.values()]]
    marker = cache / "hashes" / (digest(known)[:32] + ".json")
    if not _ignores_remembered.get():
        with suppress(OSError, ValueError):
            return str(json.loads(marker.read_text()))
    value = find()
    with suppress(OSError):
        settled = all(is_settled(stat.st_ctime_ns, start) for stat in files.values())
        if settled and all(_identity(f.stat()) == _identity(s) for f, s in files.items()):
            marker.parent.mkdir(parents=True, exist_ok=True)
            write_text(marker, json.dumps(value), shared=True)
    return value


def is_settled(ctime_ns: Any, now_ns: int) -> Any:
    """Whether a file that last changed at `ctime_ns` (a number, or an array of them) had been left
    alone long enough at `now_ns` that another change would show another time."""
    return now_ns - ctime_ns > SETTLED_NS


def ignores_remembered() -> bool:
    """Whether this is inside of `ignore_remembered`."""
    return _ignores_remembered.get()


@contextmanager
def ignore_remembered() -> Iterator[None]:
    """In the block every file is read, whatever is remembered of it."""
    token = _ignores_remembered.set(True)
    try:
        yield
    finally:
        _ignores_remembered.reset(token)


def remember_names(mark: str, cache: Path, find: Callable[[], list[str]]) -> list[str]:
    """`find()`, the file names that annotations with this hash list, asked once."""
    marker = cache / "names" / f"{mark[:32]}.json"
    with suppress(OSError, ValueError):
        names: list[str] = json.loads(marker.read_text())
        return names
    names = find()
    with suppress(OSError):  # a read-only home only costs the look again
        marker.parent.mkdir(parents=True, exist_ok=True)
        write_text(marker, json.dumps(names), shared=True)
    return names


def check_once(mark: str, cache: Path, check: Callable[[], object]) -> None:
    """`check()`, which raises, unless it has passed for this fingerprint before."""
    marker = cache / "checked" / mark[:32]
    if marker.is_file():
        return
    check()
    with suppress(OSError):  # a read-only home only costs the check again
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()


def read_json(file: Path, what: str, advice: str = "download them again") -> Any:
    """Parsed JSON, or BadData saying that the file is missing or half-written."""
    return parse_json(read_bytes(file, what, advice), file, what, advice)


def read_bytes(file: Path, what: str, advice: str = "download them again") -> bytes:
    """The content of the file, or BadData saying that it is missing or cannot be read."""
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise BadData(f"{what} are missing: {file}; {advice}") from None
    except OSError as error:
        raise BadData(f"{what} cannot be read, half-written? {file}: {error}; {advice}") from None


def parse_json(data: bytes, file: Path, what: str, advice: str = "download them again") -> Any:
    """The JSON of a file's content, or BadData saying that it is half-written."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadData(f"{what} cannot be read, half-written? {file}: {error}; {advice}") from None
