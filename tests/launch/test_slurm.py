"""The Slurm launcher on a real cluster of three nodes (Debian's Slurm), all on 127.0.0.1."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.results.db.database import open_database
from tests.e2e.faults import command, plan, steps_logged, steps_of
from tests.launch.driver import Driver, make_expected
from tests.slurm import NODES, Cluster, cluster, missing, processes_with

pytest.importorskip("submitit", reason="the extra `slurm` is not installed")
if missing():
    pytest.skip(f"Slurm is not installed: {', '.join(missing())}", allow_module_level=True)

CELLS = 3
LONG = 900  # steps of a training that its job's time is too short for


@pytest.fixture(scope="module")
def slurm() -> Iterator[Cluster]:
    with cluster() as running:
        yield running


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make_expected(tmp_path_factory.mktemp("expected") / "home", CELLS)


class Run(Driver):
    """The command on the cluster."""

    def __init__(self, base: Path, cells: int = CELLS, **options: Any) -> None:
        home = base / "home"
        home.mkdir()
        asked = "partition=gpu,time=10,gpus=1,save=5"
        fields = {"launcher": "slurm", "slurm": asked, "threads": 1, "cells": cells, **options}
        super().__init__(home, command(home, f"sqlite:///{home}/results.db", **fields), cells)

    def check(self, expected: dict[str, str], lost: int) -> None:
        super().check(expected, lost)
        assert not list((self.home / "slurm").glob("*.json"))
        assert not list((self.home / "slurm").glob("*.report"))


@pytest.fixture
def run(tmp_path: Path, slurm: Cluster) -> Iterator[Run]:
    made = Run(tmp_path)
    yield made
    made.process.kill()
    made.process.communicate()
    subprocess.run(["scancel", "--partition=gpu", f"--user={os.getuid()}"], check=True)


@pytest.fixture(scope="module", autouse=True)
def timed_out(tmp_path_factory: pytest.TempPathFactory, slurm: Cluster) -> Iterator[Run]:
    """A training that takes longer than its job may: it runs beside the other tests."""
    asked = "partition=other,time=1,save=25"
    made = Run(tmp_path_factory.mktemp("timed_out"), cells=1, steps=LONG, slurm=asked)
    yield made
    made.process.kill()
    made.process.communicate()


def status(home: Path) -> dict[str, Any]:
    """What `bench status --json` prints."""
    code = "from bench.cli import main; main(['status', '--json'])"
    line = [sys.executable, "-c", code]
    environment = {**os.environ, "BENCH_HOME": str(home)}
    done = subprocess.run(line, capture_output=True, text=True, env=environment, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_a_matrix_is_arrays_of_jobs_and_equals_one_process(
    run: Run, slurm: Cluster, expected: dict[str, str]
) -> None:
    slurm.wait(lambda: slurm.ask("squeue", "-hp", "gpu", "-ro%i").count("_") == 2 * CELLS)
    lines = slurm.ask("squeue", "-hp", "gpu", "-o%j|%E|%b").splitlines()
    waits = {name: (after, gres) for name, after, gres in (x.split("|") for x in lines)}
    data = waits.pop("bench:data/scenes")
    assert "gpu" not in data[1]
    assert waits["bench:pretrain/byol"][0].startswith("afterok:")
    assert "gpu" in waits["bench:pretrain/byol"][1]
    assert "aftercorr:" in waits["bench:evaluate/coco_det"][0]
    assert "queued" in {j["state"] for j in status(run.home)["jobs"]}
    nodes = set()
    while run.process.poll() is None:
        nodes |= set(slurm.ask("squeue", "-hp", "gpu", "-trunning", "-o%N").split())
        time.sleep(0.3)
    out, _ = run.end()
    assert json.loads(out) == {"made": 1 + 2 * CELLS, "reused": 0}
    assert nodes == {"one", "two"}
    run.check(expected, 0)
    run.start()
    assert json.loads(run.end()[0]) == {"made": 0, "reused": CELLS}


def test_the_cluster_listens_on_this_machine_alone(slurm: Cluster) -> None:
    pids = {daemon.pid for daemon in slurm.daemons.values()}
    inodes = {
        os.readlink(link)
        for pid in pids
        for link in Path(f"/proc/{pid}/fd").iterdir()
        if os.readlink(link).startswith("socket:")
    }
    listening = [
        row.split()
        for table in ("tcp", "tcp6")
        for row in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    own = [row[1] for row in listening if row[3] == "0A" and f"socket:[{row[9]}]" in inodes]
    assert len(own) == 1 + len(NODES)
    assert {address.partition(":")[0] for address in own} == {"0100007F"}


def test_killed_jobs_and_a_lost_machine_are_made_good(
    run: Run, slurm: Cluster, expected: dict[str, str]
) -> None:
    """A job's process dies: the command submits it again. A machine dies: Slurm requeues its
    job."""
    run.wait_for_steps(6)
    on_two = [
        pid
        for pid in processes_with({"SLURMD_NODENAME": "two", "SUBMITIT_EXECUTOR": "slurm"})
        if b"submitit.core" in Path(f"/proc/{pid}/cmdline").read_bytes()
        and b"srun" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    assert on_two
    for pid in on_two:
        os.kill(pid, signal.SIGKILL)
    run.wait_for_steps(24)
    slurm.kill_node("one")
    slurm.wait(lambda: "down" in slurm.node_states()["one"])
    slurm.start_node("one")
    _, errors = run.end()
    assert "it goes on in another" in errors
    run.check(expected, 4)


def test_the_command_may_end_and_be_started_again(tmp_path: Path, slurm: Cluster) -> None:
    """Its jobs go on meanwhile, and the next command follows them."""
    run, steps = Run(tmp_path, cells=2, steps=150), steps_of(plan(2, 150))
    run.wait_for_steps(4)
    run.process.send_signal(signal.SIGINT)
    _, errors = run.end(130)
    assert "stay in Slurm's queue" in errors
    assert status(run.home)["counts"]["running"] >= 1
    before = set(slurm.ask("squeue", "-hrp", "gpu", "-o%i").split())
    run.start()
    _, errors = run.end()
    assert "in Slurm's queue already" in errors
    assert "submitted" not in errors
    assert set(slurm.ask("squeue", "-hrp", "gpu", "--states=all", "-o%i").split()) >= before
    assert steps_logged(run.home) == dict.fromkeys(steps, 1)
    assert {c["state"] for c in open_database(run.database).read_cells()} == {"done"}


def test_a_cancelled_job_stays_so(tmp_path: Path, slurm: Cluster) -> None:
    run = Run(tmp_path, cells=2, steps=300)
    run.wait_for_steps(4)
    jobs = {j["stage"].split()[0]: j["job"] for j in status(run.home)["jobs"]}
    array = jobs["pretrain/byol"].partition("_")[0]
    slurm.ask("scancel", array)
    _, errors = run.end(1)
    assert "was cancelled" in errors
    assert {c["state"] for c in open_database(run.database).read_cells()} == {"failed"}
    assert not slurm.ask("squeue", "-hp", "gpu")
    assert {j["state"] for j in status(run.home)["jobs"]} == {"failed"}
    again = Path(run.home / "slurm").glob("*.json")
    assert all(json.loads(file.read_text())["job"] for file in again)


def test_a_training_goes_on_after_its_time_is_up(timed_out: Run, slurm: Cluster) -> None:
    """Slurm asks the job to stop 25 s before its minute is over; it saves and requeues itself. On
    a busy machine a job may end before Slurm has put it back: then it goes on in another."""
    out, _ = timed_out.end()
    assert json.loads(out) == {"made": 3, "reused": 0}
    done = steps_logged(timed_out.home)
    assert set(done) == steps_of(plan(1, LONG))
    assert sum(done.values()) - len(done) <= 4
    outputs = [f.read_text() for f in timed_out.home.glob("slurm/logs/*_log.err")]
    assert max(text.count(": job ") for text in outputs) >= 2  # it has begun more than once
