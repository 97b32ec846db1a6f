"""The content-addressed store: a stage's folder under its key, made in a work folder, renamed when
whole.

In `BENCH_HOME`:

    store/<kind>/<name>-<key[:12]>/   committed: has a `done` record with every file's size and hash
    work/<key>/                       being made; survives a kill, so that a runner can go on
    locks/<key>.lock                  who makes it
    damaged/                          committed folders that no longer match their `done` record

A folder without a `done` record is not a hit, and a failed stage never gets one.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bench.core.errors import BadInput, StageFailed
from bench.core.stage import Stage

# in a work folder: checkpoints and what else only the stage's own runner reads
SCRATCH = "_scratch"
_held: set[str] = set()  # POSIX record locks do not exclude threads of one process; this does


class Store:
    """Stage folders of one `BENCH_HOME`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.root = home / "store"
        try:
            for folder in (self.root, home / "work", home / "locks"):
                folder.mkdir(parents=True, exist_ok=True)
            # without a name: a kill leaves nothing behind
            tempfile.TemporaryFile(dir=home / "work").close()
        except OSError as error:
            raise BadInput(
                f"BENCH_HOME {home} cannot be written ({error.strerror}); try: BENCH_HOME=FOLDER "
                "bench ..."
            ) from None

    def folder(self, stage: Stage) -> Path:
        """Where the committed stage is or will be."""
        return self.root / stage.kind / f"{stage.name}-{stage.short}"

    def has(self, stage: Stage) -> bool:
        """A hit: committed, and every file still there with its size. A damaged folder is moved
        aside."""
        folder = self.folder(stage)
        record = read_done(folder)
        if record is None or record.get("key") != stage.key:
            return False
        sizes = {name: entry["size"] for name, entry in record["files"].items()}
        if all(_size(folder / name) == size for name, size in sizes.items()):
            return True
        self.set_aside(stage)
        return False

    def verify(self, stage: Stage) -> bool:
        """`done`, and every file still has its hash: asked before a stage is used as an input."""
        if not self.has(stage):
            return False
        folder = self.folder(stage)
        for name, entry in (read_done(folder) or {"files": {}})["files"].items():
            if file_hash(folder / name) != entry["sha256"]:
                self.set_aside(stage)
                return False
        return True

    def set_aside(self, stage: Stage) -> None:
        """Move a committed folder out of the way, so that the stage is made again."""
        target = self.home / "damaged" / f"{stage.name}-{stage.short}-{time.time_ns()}"
        target.parent.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):
            os.rename(self.folder(stage), target)

    def work(self, stage: Stage) -> Path:
        """The stage's work folder; what an interrupted try left is still in it."""
        folder = self.home / "work" / stage.key[:32]
        folder.mkdir(exist_ok=True)
        return folder

    def commit(self, stage: Stage, provenance: dict[str, Any]) -> Path:
        """Seal the work folder: records, hashes, fsync, rename. Checkpoints in `_scratch` stay
        until all of
        that has lasted: a kill before it costs no step."""
        work, target = self.work(stage), self.folder(stage)
        for left in ("done", "done.part"):  # by a commit that was killed: not to be listed below
            (work / left).unlink(missing_ok=True)
        write_json(work / "stage.json", stage.record())
        write_json(work / "provenance.json", provenance)
        files = {}
        for path in sorted(p for p in work.rglob("*") if p.is_file()):
            if path.relative_to(work).parts[0] == SCRATCH:
                continue
            sync(path)
            files[str(path.relative_to(work))] = {
                "size": path.stat().st_size,
                "sha256": file_hash(path),
            }
        write_json(work / "done", {"key": stage.key, "files": files})
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            self.set_aside(stage)
        os.rename(work, target)
        sync(target.parent)
        shutil.rmtree(target / SCRATCH, ignore_errors=True)
        return target

    def discard(self, stage: Stage) -> None:
        """Forget a stage and any partial work on it (`bench run --force`)."""
        shutil.rmtree(self.folder(stage), ignore_errors=True)
        shutil.rmtree(self.home / "work" / stage.key[:32], ignore_errors=True)

    def committed(self) -> Iterator[tuple[Path, dict[str, Any]]]:
        """Every committed folder with its stage record."""
        return committed(self.root)

    def find(self, prefix: str) -> tuple[Path, dict[str, Any]]:
        """The one committed stage whose key starts with `prefix`."""
        hits = [(f, r) for f, r in self.committed() if r["key"].startswith(prefix.lower())]
        if len(hits) != 1 or len(prefix) < 4:
            what = "no stage has" if not hits else "several stages have"
            if len(prefix) < 4:
                what = "at least 4 digits are needed:"
            raise BadInput(
                f"{what} key {prefix!r}; try: bench leaderboard, or bench plan --json ..."
            )
        return hits[0]

    def owner(self, stage: Stage) -> str | None:
        """Who makes the stage now, if anybody does. It tries a shared lock for a moment, so that
        somebody who begins in that moment waits a fifth of a second."""
        if stage.key in _held:  # to close the file would give this process's own lock up
            return f"pid {os.getpid()}"
        try:
            handle = os.open(self._lock_file(stage), os.O_RDWR)
        except FileNotFoundError:
            return None
        try:
            fcntl.lockf(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return _owner(handle)
        finally:
            os.close(handle)
        return None

    def _lock_file(self, stage: Stage) -> Path:
        return self.home / "locks" / f"{stage.key[:32]}.lock"

    @contextmanager
    def lock(
        self, stage: Stage, waiting: Callable[[str], None] = lambda who: None
    ) -> Iterator[None]:
        """Hold the stage's lock; `waiting(owner)` is called once if somebody else has it.

        A POSIX record lock: the kernel gives it up when the owner dies, however it dies (a file
        server does when a host falls silent), and forked loader workers do not inherit it.
        """
        handle = os.open(self._lock_file(stage), os.O_RDWR | os.O_CREAT, 0o666)
        mine = told = False
        try:
            while not (mine := _try_lock(handle, stage.key)):
                if not told:
                    waiting(_owner(handle))
                    told = True
                time.sleep(0.2)
            with suppress(OSError):  # only for people: a full disk has no room for it
                os.ftruncate(handle, 0)
                os.pwrite(handle, f"{socket.gethostname()} pid {os.getpid()}".encode(), 0)
            yield
        finally:
            if mine:
                _held.discard(stage.key)
            os.close(handle)


def _owner(handle: int) -> str:
    return os.pread(handle, 200, 0).decode(errors="replace").strip() or "another process"


def _try_lock(handle: int, key: str) -> bool:
    if key in _held:
        return False
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    _held.add(key)
    return True


def committed(root: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every committed stage folder under a store's `root`, with its stage record."""
    for done in sorted(root.glob("*/*/done")):
        with suppress(OSError, ValueError):
            yield done.parent, json.loads((done.parent / "stage.json").read_text())


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def file_hash(path: Path) -> str:
    """sha256 hex of a file's bytes."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def sync(path: Path) -> None:
    """fsync a file or folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_done(folder: Path) -> dict[str, Any] | None:
    """The `done` record, or None where it is missing or torn."""
    try:
        record = json.loads((folder / "done").read_text())
        return record if isinstance(record.get("files"), dict) else None
    except (OSError, ValueError, AttributeError):
        return None


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically: a reader sees the old file or the whole new one."""
    partial = path.with_name(path.name + ".part")
    try:
        partial.write_text(json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n")
        sync(partial)
    except OSError as error:
        raise StageFailed(
            f"cannot write {path.name}: {error.strerror}; free space and run again"
        ) from None
    os.replace(partial, path)
