"""A command of `bench` that a reader starts from a page, one at a time for the whole server.

The dashboard starts nothing unless `bench dashboard --allow-run` allows it (`RUN` in the
environment): whoever can open its pages could make this machine work.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import IO

RUN = "BENCH_DASHBOARD_RUN"  # "yes": commands may be started
BENCH = (sys.executable, "-c", "from bench.cli import main; main()")
PATIENCE = 10.0  # seconds that a cancelled command has to end by itself
TAIL = 2000  # letters of its output that are read


def may_run() -> bool:
    """Whether the dashboard was started with --allow-run."""
    return os.environ.get(RUN) == "yes"


@dataclass
class Job:
    """A command that was started. `code`: its exit code once it has ended."""

    title: str
    command: str
    process: subprocess.Popen[bytes]
    output: IO[bytes]
    folder: Path  # of its file, deleted when it has ended
    started: float
    cancelled: float | None = None
    seconds: float | None = None  # that it took

    @property
    def code(self) -> int | None:
        """The exit code; None while it runs. One that was cancelled and does not end is killed."""
        code = self.process.poll()
        late = self.cancelled is not None and time.monotonic() > self.cancelled + PATIENCE
        if code is None and late:
            self._signal(signal.SIGKILL)
        if code is not None and self.seconds is None:
            self.seconds = time.monotonic() - self.started
            shutil.rmtree(self.folder, ignore_errors=True)
        return code

    @property
    def elapsed(self) -> float:
        """Seconds since its start; those it took, once it has ended."""
        return self.seconds if self.seconds is not None else time.monotonic() - self.started

    def cancel(self) -> None:
        """Ask the command to stop, as Ctrl-C does: nothing of its work is lost."""
        if self.process.poll() is None:
            self.cancelled = self.cancelled or time.monotonic()
            self._signal(signal.SIGINT)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def last_line(self) -> str:
        """The last line that it printed."""
        self.output.flush()
        size = os.fstat(self.output.fileno()).st_size
        text = os.pread(self.output.fileno(), TAIL, max(0, size - TAIL)).decode(errors="replace")
        lines = [line.strip() for line in text.replace("\r", "\n").splitlines() if line.strip()]
        return lines[-1] if lines else ""


class Jobs:
    """The command that runs, or the last one that has ended."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.last: Job | None = None
        atexit.register(self.stop)

    @property
    def running(self) -> Job | None:
        job = self.last
        return job if job is not None and job.code is None else None

    def start(self, title: str, words: Sequence[str], file: str) -> bool:
        """Run `bench WORDS --out FILE`, the file in a folder that is thrown away, since the store
        keeps the picture; False where a command runs already, PermissionError where none may."""
        if not may_run():
            raise PermissionError("start it with: bench dashboard --allow-run")
        with self._lock:
            if self.running:
                return False
            if self.last:
                self.last.output.close()
            folder = Path(tempfile.mkdtemp(prefix="bench-picture-"))
            output = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the next job starts
            process = subprocess.Popen(
                [*BENCH, *words, "--out", str(folder / file)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            command = " ".join(["bench", *words, "--out", file])
            self.last = Job(title, command, process, output, folder, time.monotonic())
            return True

    def stop(self) -> None:
        """End the command that runs, since the server ends."""
        job = self.running
        if job is not None:
            job.cancel()
