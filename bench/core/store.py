"""The content-addressed store: a stage's folder under its key, made in a work folder and renamed
when it is whole.

In `BENCH_HOME`:

    store/<kind>/<name>-<key[:12]>/   committed: its `done` record has every file's size and hash
    work/<key>/                       being made; survives a kill, so that a runner can go on
    locks/<key>.lock                  who makes it
    locks/<key>.use                   shared by those who make a stage from it
    trash/                            what `bench gc` deletes, on its way out
    damaged/                          committed folders that no longer match their `done` record
    records/                          what only the results database has otherwise

A folder without a `done` record is not a hit, and a failed stage never gets one.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from bench.core.errors import BadInput
from bench.core.files import hash_file, sync, write_json
from bench.core.identity import pid_space
from bench.core.locks import take_lock
from bench.core.records import (
    DamagedFolder,
    DoneRecord,
    FileRecord,
    check_folder,
    find_changed_files,
    survey,
)
from bench.core.stage import Provenance, Stage, StageRecord, walk

# in a work folder: checkpoints and what else only the stage's own runner reads
SCRATCH = "_scratch"
_held: set[str] = set()  # POSIX record locks do not exclude threads of one process; this does
_uses: dict[str, list[int]] = {}  # inputs this process uses: [open file, times], by their key


class Store:
    """Stage folders of one `BENCH_HOME`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.note: Callable[[str], None] = _print_note  # what is done with a damaged folder
        self._noted: set[str] = set()
        self.root = home / "store"
        try:
            for folder in (self.root, home / "work", home / "locks"):
                folder.mkdir(parents=True, exist_ok=True)
            # without a name: a kill leaves nothing behind
            tempfile.TemporaryFile(dir=home / "work").close()
        except OSError as error:
            raise BadInput(
                f"BENCH_HOME {home} cannot be written ({error.strerror}); "
                "try: BENCH_HOME=FOLDER bench ..."
            ) from None

    def folder(self, stage: Stage) -> Path:
        """Where the committed stage is or will be."""
        return self.root / stage.kind / f"{stage.name}-{stage.short}"

    def has(self, stage: Stage) -> bool:
        """A hit: committed, every file still there with its size, and the small files with their
        content (`check_folder`). A damaged folder is moved aside, which `note` says."""
        folder = self.folder(stage)
        if not folder.exists():
            return False
        try:
            check_folder(folder, stage.key)
        except DamagedFolder as error:
            self.set_aside(stage, str(error))
            return False
        return True

    def verify(self, stage: Stage) -> bool:
        """`has`, and every file still has its hash: asked before a stage is used as an input."""
        if not self.has(stage):
            return False
        changed = find_changed_files(self.folder(stage))
        if changed:
            self.set_aside(stage, changed[0])
        return not changed

    def set_aside(self, stage: Stage, why: str) -> None:
        """Move a committed folder out of the way, so that the stage is made again."""
        target = self.home / "damaged" / f"{stage.name}-{stage.short}-{time.time_ns()}"
        target.parent.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):
            os.rename(self.folder(stage), target)
            self.note(f"{stage}: {why}; moved to {target}, to be made again")

    def work(self, stage: Stage) -> Path:
        """The stage's work folder; what an interrupted try left is still in it."""
        folder = self.home / "work" / stage.key[:32]
        folder.mkdir(exist_ok=True)
        return folder

    def commit(self, stage: Stage, provenance: Provenance) -> Path:
        """Seal the work folder: write the records and hashes, sync every file, rename the folder.

        Checkpoints in `_scratch` are deleted last, so that a kill on the way costs no step.
        """
        work, target = self.work(stage), self.folder(stage)
        for left in ("done", "done.part"):  # by a commit that was killed: not to be listed below
            (work / left).unlink(missing_ok=True)
        write_json(work / "stage.json", stage.record())
        write_json(work / "provenance.json", provenance)
        files: dict[str, FileRecord] = {}
        for path in sorted(p for p in work.rglob("*") if p.is_file()):
            if path.relative_to(work).parts[0] == SCRATCH:
                continue
            sync(path)
            files[str(path.relative_to(work))] = {
                "size": path.stat().st_size,
                "sha256": hash_file(path),
            }
        done: DoneRecord = {"key": stage.key, "files": files}
        write_json(work / "done", done)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            self.set_aside(stage, "a folder without a valid done record was in its place")
        os.rename(work, target)
        sync(target.parent)
        shutil.rmtree(target / SCRATCH, ignore_errors=True)
        return target

    def discard(self, stage: Stage) -> None:
        """Forget a stage and any partial work on it (`bench run --force`)."""
        shutil.rmtree(self.folder(stage), ignore_errors=True)
        shutil.rmtree(self.home / "work" / stage.key[:32], ignore_errors=True)

    def committed(self) -> Iterator[tuple[Path, StageRecord]]:
        """Every committed folder with its stage record. `note` says which folders are left out,
        once, because their records are damaged."""
        for folder, record in survey(self.root):
            if not isinstance(record, DamagedFolder):
                yield folder, record
            elif str(folder) not in self._noted:
                self._noted.add(str(folder))
                self.note(f"{record}; the folder is left out")

    def find(self, prefix: str) -> tuple[Path, StageRecord]:
        """The one committed stage whose key starts with `prefix`."""
        hits = [(f, r) for f, r in self.committed() if r["key"].startswith(prefix.lower())]
        if len(hits) != 1 or len(prefix) < 4:
            problem = f"no stage has key {prefix!r}"
            if hits:
                problem = f"the keys of {len(hits)} stages start with {prefix!r}"
            if len(prefix) < 4:
                problem = f"at least 4 digits of a key are needed, got {prefix!r}"
            raise BadInput(f"{problem}; try: bench leaderboard, or bench plan --json ...")
        return hits[0]

    def owner(self, stage: Stage) -> str | None:
        """Who makes the stage now, if anybody does. It tries a shared lock for a moment, so that
        somebody who begins in that moment waits a fifth of a second."""
        if stage.key[:32] in _held:  # to close the file would give this process's own lock up
            return f"pid {os.getpid()}"
        try:
            handle = os.open(self._lock_file(stage), os.O_RDWR)
        except FileNotFoundError:
            return None
        try:
            free = take_lock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB, self.home)
            return None if free else _owner(handle)
        finally:
            os.close(handle)

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
        mine = announced = False
        try:
            while not (mine := _try_lock(handle, stage.key[:32], self.home)):
                if not announced:
                    waiting(_owner(handle))
                    announced = True
                time.sleep(0.2)
            with suppress(OSError):  # only for people: a full disk has no room for it
                os.ftruncate(handle, 0)
                os.pwrite(handle, _describe_process().encode(), 0)
            yield
        finally:
            if mine:
                _held.discard(stage.key[:32])
            os.close(handle)

    @contextmanager
    def use_inputs(self, stage: Stage) -> Iterator[None]:
        """While `stage` is made: `bench gc` leaves the stages that it is made from, directly or
        not. They may have been deleted before; look again inside."""
        with ExitStack() as stack:
            for each in walk(stage):
                if each.key != stage.key:
                    stack.enter_context(self._use(each.key[:32]))
            yield

    @contextmanager
    def _use(self, name: str) -> Iterator[None]:
        if name not in _uses:  # one file for all: to close a second one would give the lock up
            file = self.home / "locks" / f"{name}.use"
            _uses[name] = [os.open(file, os.O_RDWR | os.O_CREAT, 0o666), 0]
        use = _uses[name]
        use[1] += 1
        try:
            take_lock(use[0], fcntl.LOCK_SH, self.home)  # gc has it for a moment only
            yield
        finally:
            use[1] -= 1
            if not use[1]:
                del _uses[name]
                os.close(use[0])

    def remove(self, folder: Path, name: str, measure: Callable[[Path], None]) -> bool:
        """Delete `folder`, which belongs to the stage whose key starts with the 32 digits `name`;
        False where somebody makes that stage or uses it now. `measure` sees the folder before.

        Under the stage's locks it is renamed into `trash/`, so that a kill leaves no half of it
        in its place; then it is deleted.
        """
        with self.hold_unused(name) as free:
            if not free or not folder.is_dir():
                return False
            measure(folder)
            trash = self.home / "trash" / f"{folder.name}-{time.time_ns()}"
            try:
                trash.parent.mkdir(exist_ok=True)
                os.rename(folder, trash)
            except OSError:  # a full disk may have no room for the name: deleted in its place
                trash = folder
                shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(trash, ignore_errors=True)
        return True

    @contextmanager
    def hold_unused(self, name: str) -> Iterator[bool]:
        """Hold both locks of a stage without waiting; gives False where somebody has one."""
        with ExitStack() as stack:
            yield (
                name not in _held
                and name not in _uses
                and stack.enter_context(self._hold(f"{name}.lock"))
                and stack.enter_context(self._hold(f"{name}.use"))
            )

    @contextmanager
    def _hold(self, file: str) -> Iterator[bool]:
        try:
            handle = os.open(self.home / "locks" / file, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            yield True  # there is no such file, so nobody holds it
            return
        try:
            yield take_lock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB, self.home)
        finally:
            os.close(handle)


def _describe_process() -> str:
    return f"{socket.gethostname()} pid {os.getpid()} {pid_space()}"


def _owner(handle: int) -> str:
    """Who holds the lock, as its file says; a process number of another container is not one of
    here."""
    words = os.pread(handle, 400, 0).decode(errors="replace").split()
    if len(words) < 3:
        return "another process"
    elsewhere = words[3:] != pid_space().split() and words[0] == socket.gethostname()
    return " ".join(words[:3]) + " of another container" * elsewhere


def _try_lock(handle: int, key: str, home: Path) -> bool:
    if key in _held:
        return False
    if not take_lock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB, home):
        return False
    _held.add(key)
    return True


def _print_note(text: str) -> None:
    print(text, file=sys.stderr)
