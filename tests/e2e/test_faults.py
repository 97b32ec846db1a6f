"""Fault injection: random kills of workers, drivers and database connections, two drivers, a full
disk. Nothing is lost, nothing is done twice, and the same command finishes the job."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from bench.results.db.database import open_database
from tests.e2e.faults import (
    alive,
    command,
    made_by,
    main,
    plan,
    results,
    server_of,
    steps_logged,
    steps_of,
    workers_of,
)
from tests.patience import HANG

KILLS = 50


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The results of the matrix made in one go, in one process."""
    home = tmp_path_factory.mktemp("uninterrupted") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.e2e.faults.SECONDS", 0.0)
        assert main(str(home), f"sqlite:///{home}/results.db") == 0
    return results(home)


class Chaos:
    """Kills at random moments until there were `KILLS`."""

    def __init__(self, home: Path, database: str, server: Any, seed: int) -> None:
        self.command = command(home, database, max_parallel=2)
        self.random = random.Random(seed)
        self.database, self.server = database, server
        self.count = {"worker": 0, "server": 0, "driver": 0, "connection": 0}
        self.seen: set[int] = set()
        self.codes: list[int] = []

    @property
    def kills(self) -> int:
        return sum(self.count.values())

    def run(self) -> None:
        while self.kills < KILLS:
            driver = subprocess.Popen(
                self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            try:
                while driver.poll() is None and self.kills < KILLS:
                    self._kill_one(driver)
            finally:
                driver.wait(60) if self.kills < KILLS else driver.kill()
                self.codes.append(driver.wait())
            assert self.codes[-1] in (0, 1, -signal.SIGKILL)
            assert self.codes[-1] != 0, f"all was done after {self.kills} kills: {self.count}"

    def _kill_one(self, driver: subprocess.Popen[bytes]) -> None:
        time.sleep(self.random.expovariate(1 / 0.12))
        what = self.random.choices(("worker", "server", "driver", "connection"), (40, 3, 5, 8))[0]
        if self.kills > KILLS // 2 and not self.count["driver"]:
            what = "driver"
        workers = workers_of(driver.pid)
        self.seen |= set(workers)
        if what == "connection" and self.server:
            self.count[what] += bool(self.server.end_connections(make_url(self.database).database))
            return
        server = server_of(driver.pid)
        pids = {
            "worker": workers,
            "server": [server] if server else [],
            "driver": [driver.pid],
        }.get(what, [])
        if workers and pids:
            with suppress(ProcessLookupError):  # ended by itself meanwhile
                os.kill(self.random.choice(pids), signal.SIGKILL)
                self.count[what] += 1


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_fifty_kills_lose_nothing_and_do_nothing_twice(
    home: Path, kind: str, uninterrupted: dict[str, str], request: pytest.FixtureRequest
) -> None:
    server = request.getfixturevalue("postgres") if kind == "postgresql" else None
    database = server.database() if server else f"sqlite:///{home}/results.db"
    chaos = Chaos(home, database, server, seed=len(kind))
    chaos.run()
    last = subprocess.run(chaos.command, capture_output=True, text=True, timeout=HANG)
    assert last.returncode == 0, last.stderr[-2000:]

    assert chaos.count["worker"] >= 25, chaos.count
    assert chaos.count["driver"] >= 1, chaos.count
    assert results(home) == uninterrupted
    assert not list((home / "damaged").glob("*"))  # where a second commit would put the first
    assert not list((home / "work").iterdir())
    done = steps_logged(home)
    assert set(done) == steps_of(plan(10))
    # a kill costs a step at most: its checkpoint's
    assert sum(done.values()) - len(done) <= chaos.kills
    opened = open_database(database)
    assert opened.find_unrecorded(s.key for s in plan(10).stages) == set()
    assert {c["state"] for c in opened.read_cells()} == {"done"}
    assert len(opened.read_cells()) == len(opened.read_results()) == 10
    assert not any(alive(pid) for pid in chaos.seen)


def test_two_drivers_share_a_matrix(home: Path, uninterrupted: dict[str, str]) -> None:
    """Both make stages, neither makes one of the other's; the one that is left does the rest."""
    line = command(home, f"sqlite:///{home}/results.db", max_parallel=2)
    first, second = (
        subprocess.Popen(
            line,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "DRIVER": name, "DRIVERS": "2"},
        )
        for name in ("first", "second")
    )
    while min(made_by(home, "first"), made_by(home, "second")) < 3:
        assert first.poll() is None
        time.sleep(0.05)
    first.kill()
    first.communicate()
    out, errors = second.communicate(timeout=HANG)
    assert second.returncode == 0, errors
    made = json.loads(out)["made"]
    assert made == made_by(home, "second")
    assert made_by(home, "first") == 21 - made >= 3
    assert results(home) == uninterrupted
    done = steps_logged(home)
    assert set(done) == steps_of(plan(10))
    assert sum(done.values()) - len(done) <= 2  # what the two workers of the first one were at
    assert {c["state"] for c in open_database(f"sqlite:///{home}/results.db").read_cells()} == {
        "done"
    }


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
@pytest.mark.parametrize("whom", ["driver", "everybody"])
def test_a_request_to_stop_ends_all_and_the_same_command_goes_on(
    home: Path, number: signal.Signals, whom: str
) -> None:
    """To the driver alone (a person, `kill`), or to every process of the job (a batch system)."""
    line = command(home, f"sqlite:///{home}/results.db", max_parallel=2, cells=3)
    process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
    while len(workers_of(process.pid)) < 2:
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(0.3)
    others = workers_of(process.pid)
    server = server_of(process.pid)
    for pid in [process.pid] if whom == "driver" else [server, *others, process.pid]:
        assert pid
        os.kill(pid, number)
    _, errors = process.communicate(timeout=HANG)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert not any(alive(pid) for pid in others)
    states = {c["state"] for c in open_database(f"sqlite:///{home}/results.db").read_cells()}
    assert "interrupted" in states
    assert "running" not in states
    last = subprocess.run(line, capture_output=True, text=True, timeout=HANG)
    assert last.returncode == 0, last.stderr
    done = steps_logged(home)
    assert set(done) == steps_of(plan(3))
    assert sum(done.values()) - len(done) <= 2


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False)


def test_workers_on_a_full_disk_lose_nothing(small_disk: Path) -> None:
    home = small_disk / "home"
    line = command(home, f"sqlite:///{home}/results.db", max_parallel=2, cells=4, steps=4, mib=1.5)
    failed = subprocess.run(line, capture_output=True, text=True, timeout=HANG)
    assert failed.returncode == 1
    assert "Traceback" not in failed.stderr
    assert "no space left in BENCH_HOME" in failed.stderr
    kept = set(results(home))
    assert kept
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    last = subprocess.run(line, capture_output=True, text=True, timeout=HANG)
    assert last.returncode == 0, last.stderr
    made = plan(4, 4, 1.5)
    assert json.loads(last.stdout)["made"] == len(made.stages) - len(kept)
    assert set(steps_logged(home)) == steps_of(made)
    assert {c["state"] for c in open_database(f"sqlite:///{home}/results.db").read_cells()} == {
        "done"
    }
