"""bench status."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.core.params import Runtime
from bench.core.store import Store
from bench.launch.local import LocalEngine
from bench.launch.slurm import queue
from bench.launch.slurm.queue import QueuedJob
from bench.launch.slurm.records import JobRecord, JobRecords
from bench.plan.cell import Plan
from bench.results.db.database import open_database
from bench.results.db.listener import DatabaseListener
from tests.cli.conftest import Bench
from tests.launch.toys import cell_of, toy


def test_nothing_is_to_be_said_of_an_empty_home(bench: Bench) -> None:
    code, out, _ = bench("status")
    assert (code, out) == (
        0,
        "nothing is queued, running or failed; next: bench leaderboard\n",
    )


def test_it_shows_jobs_processes_and_failed_cells(
    home: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = f"sqlite:///{home}/results.db"
    store, cell = Store(home), cell_of(toy("broken", run="fail"))
    runtime = Runtime(home=home, database=database, tracker="none")
    LocalEngine(runtime, store, DatabaseListener(open_database(database))).run(Plan([cell]))
    assert cell.final is not None
    stage, records = toy("queued"), JobRecords(home)
    with records.lock():
        records.write(JobRecord(stage.key, str(stage), "12_3", 1.0))
    monkeypatch.setattr(
        queue, "read_queue", lambda: {"12_3": QueuedJob("12_3", "PENDING", "Priority")}
    )
    code, out, _ = bench("status")
    lines = out.splitlines()
    assert code == 0
    assert lines[2].split() == ["queued", "12_3", "toy/queued", stage.short, "Priority"]
    assert lines[3] == "1 queued"
    assert lines[4].startswith(
        f"failed: byol x image x coco_det seed 0 ({cell.final.short}): toy/broken"
    )
    answer = json.loads(bench("status", "--json")[1])
    assert answer["counts"]["queued"] == 1
    assert [c["key"] for c in answer["cells"]] == [cell.final.key]


def test_it_names_the_process_that_makes_a_stage(home: Path, bench: Bench) -> None:
    code = (
        "import sys, time; from pathlib import Path; from bench.core.store import Store;"
        "from bench.core.running import note_work; from tests.launch.toys import toy\n"
        "store, stage = Store(Path(sys.argv[1])), toy('slow')\n"
        "with store.lock(stage):\n"
        "    note_work(store.work(stage), stage, [])\n"
        "    print('ready', flush=True); sys.stdin.read()"
    )
    maker = subprocess.Popen(
        [sys.executable, "-c", code, str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert maker.stdout is not None
        assert maker.stdout.readline() == "ready\n"
        out = bench("status")[1]
    finally:
        maker.communicate("")
    assert f"made now: toy/slow {toy('slow').short} by" in out
    assert f"pid {maker.pid}" in out
