"""What the images of a set hold: hashed while its index is made, compared at every later plan.

A key names annotations, lists and masks by their content, and images by their names and sizes:
reading all of them before a first plan would take minutes to hours. The hash of each image is
taken when the index is made, where images are read anyway, and stays as the content that the key
stands for in this home:

    records/images/<key[:32]>.sha256       hash and name of each image, as sha256sum writes them
    cache/images/<key[:32]>-<place>.npz    the same as last seen at one place, with each file's
                                           size, times of change and inode

A later plan (`identify`) asks the system for the latter, reads those images again that are not the
same file any more, and where one of them has another content, the set has another key.
"""

from __future__ import annotations

import os
import time
import zipfile
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from bench.contracts import registry
from bench.contracts.context import StageContext
from bench.contracts.data import Data
from bench.core.errors import BadData
from bench.core.files import hash_file, write_atomically, write_bytes
from bench.core.params import Runtime, digest
from bench.core.stage import Stage, walk
from bench.data.files import ignores_remembered, is_settled

RUNNER = "bench.data.runner:run"  # of sets that lie in a folder
FILE = "images.sha256"  # in the stage's folder
READERS = 8  # threads; hashing leaves Python's lock
MISSING = b"\0" * 32
TORN = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)  # a cache
UNKNOWN = -1  # of a file that changed too lately to be told by its times


@dataclass(frozen=True)
class Hashes:
    """Images by their paths relative to the set's folder, sorted. shas: (N, 32) uint8."""

    names: list[str]
    shas: np.ndarray

    @property
    def digest(self) -> str:
        """sha256 over names and hashes."""
        return digest([self.names, self.shas.tobytes().hex()])

    def lines(self) -> bytes:
        """As sha256sum writes them, so that it can check them (`sha256sum -c`)."""
        rows = zip(self.names, self.shas, strict=True)
        return b"".join(_line(name, sha.tobytes().hex()) for name, sha in rows)


def _line(name: str, sha: str) -> bytes:
    raw = os.fsencode(name)
    escaped = raw.replace(b"\\", b"\\\\").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
    mark = b"" if escaped == raw else b"\\"
    return mark + sha.encode() + b"  " + escaped + b"\n"


def read_hashes(file: Path) -> Hashes | None:
    """The hashes of `Hashes.lines`; None where there is no such file, BadData where it is torn."""
    try:
        lines = file.read_bytes().split(b"\n")
        names, shas = [], []
        for line in lines[:-1]:
            sha, _, name = line.removeprefix(b"\\").partition(b"  ")
            if line.startswith(b"\\"):
                name = name.replace(b"\\n", b"\n").replace(b"\\r", b"\r").replace(b"\\\\", b"\\")
            names.append(os.fsdecode(name))
            shas.append(bytes.fromhex(sha.decode()))
        if lines[-1:] != [b""] or not names:
            raise ValueError("its last line is cut off")
        return Hashes(names, np.frombuffer(b"".join(shas), np.uint8).reshape(len(names), 32))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise BadData(
            f"{file} is damaged ({error}), so that nobody knows whether the images are those of "
            "before; copy the images.sha256 of the set's folder in the store there, or delete it"
        ) from None


def sort_hashes(hashes: Mapping[Path, str], root: Path) -> Hashes:
    """The hashes of images below `root`, a folder or a file beside them, by their names."""
    base = _base(root)
    named = sorted((os.path.relpath(path, base), sha) for path, sha in hashes.items())
    raw = b"".join(bytes.fromhex(sha) for _, sha in named)
    return Hashes([name for name, _ in named], np.frombuffer(raw, np.uint8).reshape(-1, 32))


def _base(root: Path) -> Path:
    return root if root.is_dir() else root.parent


def identify(data: Data, root: Path | None, runtime: Runtime) -> Stage:
    """`data.stage`: what the key stands for in this home is the content of its images too. Where
    they hold something else now, the stage has another key, with a digest of what they hold."""
    stage = data.stage(root, runtime)
    if not data.needs_path:
        return stage
    place = runtime.roots[stage.key]
    recorded = read_hashes(_record(runtime.home, stage.key))
    if recorded is None:
        return stage
    current = _look(recorded, place, _cache(runtime.home, stage.key, place))
    if np.array_equal(current.shas, recorded.shas):
        return stage
    params = {**stage.params, "images": current.digest}
    other = Stage(stage.kind, stage.name, stage.version, params, stage.runner, stage.inputs)
    runtime.roots[other.key] = place
    return other


def check_sources(stage: Stage, runtime: Runtime) -> None:
    """DataChanged where a set that the stage was made from, directly or not, does not hold any
    more what its key says; another BadData where it cannot be read, as on a file system that is
    away for a moment. Files that are the same are not read."""
    for each in walk(stage):
        root = runtime.roots.get(each.key)
        if each.kind != "data" or each.runner != RUNNER or root is None:
            continue
        params = dict(each.params["params"])
        data = cast(Data, registry.load("data", each.name).from_identity(params))
        if data.needs_path:
            again = identify(data, root, runtime.model_copy(update={"roots": {}}))
            if again.key != each.key:
                raise changed(each.name, root)


def keep_hashes(ctx: StageContext, base: Stage, hashes: Mapping[Path, str], began: int) -> None:
    """Leave the hashes of the images that were read for the stage's index, from `began` on (Unix
    time in nanoseconds), in its folder, and as what the key `base` stands for.

    BadData where they are not those of the planned key.
    """
    root = ctx.runtime.roots[ctx.stage.key]
    read = sort_hashes(hashes, root)
    if not read.names:
        return
    record = _record(ctx.runtime.home, base.key)
    known = read_hashes(record)
    planned = ctx.params.get("images") or (known.digest if known else read.digest)
    if read.digest != planned:
        raise changed(ctx.stage.name, root)
    write_bytes(ctx.work / FILE, read.lines())
    if known is None:
        record.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(record, read.lines(), shared=True)
    files = _stat(_base(root), read.names)
    files[~is_settled(files[:, 2], began)] = UNKNOWN
    _remember(_cache(ctx.runtime.home, base.key, root), files, read.shas)


class DataChanged(BadData):
    """The files of a set are there, and are not those of the planned key any more."""


def changed(name: str, root: Path) -> DataChanged:
    """The error of a set whose files are not those of the planned key any more."""
    return DataChanged(
        f"the files of data {name!r} at {root} changed since this run began; run the same command "
        "again"
    )


def _look(recorded: Hashes, root: Path, cache: Path) -> Hashes:
    """The hashes of the same images as they are now; only files that are not the same as when they
    were last seen are read."""
    base, began = _base(root), time.time_ns()
    files = _stat(base, recorded.names)
    seen, shas = _recall(cache, len(files))
    again = np.flatnonzero((files != seen).any(1) | ignores_remembered())
    if not len(again):
        return Hashes(recorded.names, shas)
    with ThreadPoolExecutor(READERS) as pool:
        read = pool.map(_hash, (base / recorded.names[i] for i in again))
        for i, sha in zip(again, read, strict=True):
            shas[i] = np.frombuffer(sha, np.uint8)
    changed_since = (_stat(base, [recorded.names[i] for i in again]) != files[again]).any(1)
    files[again[changed_since]] = UNKNOWN
    files[~is_settled(files[:, 2], began)] = UNKNOWN
    _remember(cache, files, shas)
    return Hashes(recorded.names, shas)


def _stat(base: Path, names: list[str]) -> np.ndarray:
    """(N, 4) int64: size, mtime, ctime and inode of each file; zeros where there is none."""
    files = np.zeros((len(names), 4), np.int64)
    for i, name in enumerate(names):
        with suppress(OSError):
            stat = os.stat(f"{base}/{name}")
            files[i] = stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino
    return files


def _hash(file: Path) -> bytes:
    try:
        return bytes.fromhex(hash_file(file))
    except OSError:
        return MISSING


def _record(home: Path, key: str) -> Path:
    return home / "records" / "images" / f"{key[:32]}.sha256"


def _cache(home: Path, key: str, root: Path) -> Path:
    """By the place too, and its device: the same set may lie at several."""
    device = 0
    with suppress(OSError):
        device = os.stat(root).st_dev
    return home / "cache" / "images" / f"{key[:32]}-{digest([str(root), device])[:12]}.npz"


def _recall(cache: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Files and hashes as they were last seen; unknown where they were not."""
    with suppress(*TORN), np.load(cache) as arrays:
        files, shas = arrays["files"], arrays["shas"]
        if files.shape == (count, 4) and shas.shape == (count, 32):
            return files.astype(np.int64), shas.astype(np.uint8)
    return np.full((count, 4), UNKNOWN, np.int64), np.zeros((count, 32), np.uint8)


def _remember(cache: Path, files: np.ndarray, shas: np.ndarray) -> None:
    """A cache that cannot be written only costs the hashing again."""
    with suppress(OSError):
        cache.parent.mkdir(parents=True, exist_ok=True)
        with write_atomically(cache, shared=True) as partial, open(partial, "wb") as file:
            np.savez(file, files=files, shas=shas)
