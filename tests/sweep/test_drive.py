"""The driver: killed workers are replaced, workers that cannot work end the sweep, none outlives
it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.core.errors import StageFailed
from bench.sweep import drive
from bench.sweep.drive import Pool
from tests.patience import HANG


class Files:
    """A sweep of three trials; the files in a folder are the trials that are done."""

    name = "s"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.setup = type("Setup", (), {"grid": True, "trials": 3})()

    @contextlib.contextmanager
    def gate(self) -> Iterator[None]:
        yield

    def give_back(self) -> None: ...

    def more(self) -> bool:
        return len(list(self.folder.glob("done*"))) < 3

    def running(self) -> list[Any]:
        return []

    def trials(self) -> list[Any]:
        return []


class FilesPool(Pool):
    def rows(self) -> list[dict[str, Any]]:
        done = len(list(self.sweep.folder.glob("done*")))  # type: ignore[attr-defined]
        return [{"state": "complete"}] * done + [{"state": "waiting"}] * (3 - done)


WORK = """
import os, pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])
if sys.argv[2] == "die" and not (folder / "died").exists():
    (folder / "died").touch()
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "refuse":
    print("bench: no such data", file=sys.stderr)
    sys.exit(2)
if sys.argv[2] == "sleep":
    time.sleep(60)
for i in range(3):
    (folder / f"done{i}").touch()
"""


def pool(folder: Path, how: str, count: int = 1) -> FilesPool:
    command = [sys.executable, "-c", WORK, str(folder), how]
    return FilesPool(Files(folder), count, lambda number: command, folder / "logs")  # type: ignore[arg-type]


@pytest.mark.parametrize("look", [0.1, 2.0])  # soon after the kill, and a while after it
def test_a_killed_worker_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, look: float
) -> None:
    monkeypatch.setattr(drive, "LOOK_SECONDS", look)
    shown: list[int] = []
    pool(tmp_path, "die").run(lambda rows, doing: shown.append(len(rows)))
    assert (tmp_path / "died").exists()
    assert len(list(tmp_path.glob("done*"))) == 3
    assert shown


def test_a_worker_that_cannot_work_ends_the_sweep(tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match="no such data"):
        pool(tmp_path, "refuse").run(lambda rows, doing: None)


def test_leaving_takes_the_workers_along(tmp_path: Path) -> None:
    made = pool(tmp_path, "sleep", count=2)
    started: list[subprocess.Popen[bytes]] = []

    def interrupted(rows: Any, doing: dict[str, str]) -> None:
        assert len(doing) == 2
        started.extend(made.processes.values())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made.run(interrupted)
    assert [p.poll() is not None for p in started] == [True, True]


def test_a_worker_follows_its_driver_into_the_grave(tmp_path: Path) -> None:
    """The driver dies by SIGKILL; its worker gets a SIGTERM, which saves a checkpoint and gives
    back."""
    worker = (
        "import os, pathlib, sys, signal, time\n"
        "from bench.sweep.drive import follow\n"
        "signal.signal(signal.SIGTERM, lambda *a: "
        "sys.exit(pathlib.Path(sys.argv[1]).write_text('told')))\n"
        "follow(int(sys.argv[2]))\n"
        "pathlib.Path(sys.argv[1] + '.ready').touch()\n"
        "time.sleep(60)\n"
    )
    driver = (
        "import os, subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-c', {worker!r}, sys.argv[1], str(os.getpid())])\n"
        "time.sleep(60)\n"
    )
    mark = tmp_path / "mark"
    process = subprocess.Popen([sys.executable, "-c", driver, str(mark)], env=dict(os.environ))
    until = time.monotonic() + HANG
    while not Path(f"{mark}.ready").exists():
        assert time.monotonic() < until
        time.sleep(0.1)
    process.kill()
    process.wait()
    while not mark.exists() or mark.read_text() != "told":
        assert time.monotonic() < until
        time.sleep(0.1)
