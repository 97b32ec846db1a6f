"""A command that drives the faults' cells on a cluster, and what must be there at its end."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from bench.results.db.database import open_database
from tests.e2e.faults import main, plan, results, steps_logged, steps_of
from tests.patience import HANG


def make_expected(home: Path, cells: int) -> dict[str, str]:
    """The results of one process in a home of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.e2e.faults.SECONDS", 0.0)
        assert main(str(home), f"sqlite:///{home}/results.db", "--cells", str(cells)) == 0
    return results(home)


class Driver:
    """The running command; a subclass says which line it is."""

    def __init__(self, home: Path, line: list[str], cells: int) -> None:
        self.home, self.line, self.cells = home, line, cells
        self.database = f"sqlite:///{home}/results.db"
        self.start()

    def start(self) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(self.line, stdout=pipe, stderr=pipe, text=True)

    def steps(self) -> int:
        log = self.home.parent / "log"
        return sum(steps_logged(self.home).values()) if log.exists() else 0

    def wait_for_steps(self, count: int) -> None:
        end = time.monotonic() + HANG
        while self.steps() < count:
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < end
            time.sleep(0.05)

    def end(self, code: int = 0) -> tuple[str, str]:
        out, errors = self.process.communicate(timeout=HANG)
        assert self.process.returncode == code, errors[-3000:]
        return out, errors

    def check(self, expected: dict[str, str], lost: int) -> None:
        """All is there, and at most `lost` steps were done twice."""
        assert results(self.home) == expected
        done = steps_logged(self.home)
        assert set(done) == steps_of(plan(self.cells))
        assert sum(done.values()) - len(done) <= lost
        assert not list((self.home / "work").iterdir())
        opened = open_database(self.database)
        assert {c["state"] for c in opened.read_cells()} == {"done"}
        assert opened.find_unrecorded(s.key for s in plan(self.cells).stages) == set()
