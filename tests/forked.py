"""Processes forked from one that has imported what trainings need, and `bench` commands in them:
six seconds of imports less a process."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from multiprocessing import forkserver, get_context, set_start_method
from pathlib import Path
from subprocess import CompletedProcess
from tempfile import mkdtemp

from tests.patience import HANG

PRELOAD = [
    "bench.stages.pretrain.loop",
    "tasks._detection.pipeline",
    "bench.launch.workers",
    "bench.results.db.database",
    "alembic.command",
    "scipy.stats",
    "tests.forked",
    "pytest",
]
CONTEXT = get_context("forkserver")


def share_one_server() -> None:
    """Let the fork server of this process, of which there is one for all who ask, import `PRELOAD`
    beside what the first to ask wants; else the processes of all later ones import it again."""
    ask = forkserver.set_forkserver_preload

    def ask_for_more(modules: Sequence[str]) -> None:
        ask([*modules, *PRELOAD])

    forkserver.set_forkserver_preload = ask_for_more
    CONTEXT.set_forkserver_preload([])


def _command(arguments: tuple[str, ...], environment: dict[str, str], folder: Path) -> None:
    """The new process: its own environment and files for what it prints, then the command."""
    set_start_method(None, force=True)  # what the command starts is started as in a terminal
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, name in ((1, "out"), (2, "err")):
        file = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, descriptor)
        os.close(file)
    sys.argv = ["bench", *arguments]
    from bench.cli import main

    (folder / "started").touch()
    main()


class Command:
    """A running command. `started` is when it began, imports behind it."""

    def __init__(self, *arguments: str) -> None:
        self.folder = Path(mkdtemp(prefix="command"))
        given = (arguments, dict(os.environ), self.folder)
        self.process = CONTEXT.Process(target=_command, args=given)
        self.process.start()
        end = time.monotonic() + HANG
        while not (self.folder / "started").exists() and self.process.is_alive():
            assert time.monotonic() < end, "the command does not start"
            time.sleep(0.02)

    def ends_within(self, seconds: float) -> bool:
        """Wait so long at most; whether it has ended."""
        self.process.join(seconds)
        return self.process.exitcode is not None

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process.pid
        os.kill(self.process.pid, number)

    def finish(self, seconds: float = HANG) -> CompletedProcess[str]:
        """Its exit code and what it printed, once it has ended."""
        try:
            assert self.ends_within(seconds), f"not ended after {seconds} s"
        finally:
            self.process.kill()
        code = self.process.exitcode
        assert code is not None
        out, err = ((self.folder / name).read_text() for name in ("out", "err"))
        return CompletedProcess(sys.argv, code, out, err)


def run(*arguments: str) -> CompletedProcess[str]:
    """The command, from start to end."""
    return Command(*arguments).finish()
