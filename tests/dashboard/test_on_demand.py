"""Pictures made from a page: only where that is allowed, one at a time, with cost and cancel."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import insert

from bench.figures.recorded import command_words, list_backbones, read_usual_seconds
from bench.results.db.database import Database
from bench.results.db.models import StageRow
from dashboard import jobs
from dashboard.jobs import Job, Jobs
from tests.dashboard.populate import fill, key
from tests.dashboard.test_pages import html, show, words
from tests.patience import HANG


@pytest.fixture
def database(home: Path) -> Database:
    """Results whose stages are on disk, and the seconds of three pictures."""
    home.mkdir()
    database = fill(f"sqlite:///{home / 'results.db'}", 24, home)
    rows = [
        {
            "key": key("figure", seconds),
            "kind": "figure",
            "name": "attention",
            "version": 1,
            "params": {},
            "inputs": {},
            "folder": "figure/none",
            "seconds": seconds,
        }
        for seconds in (4.0, 90.0, 6.0)
    ]
    with database.engine.begin() as connection:
        connection.execute(insert(StageRow), rows)
    return database


def test_backbones_are_those_that_the_store_holds(database: Database, home: Path) -> None:
    with database.connect() as connection:
        held = list_backbones(connection, home)
        assert {(b.method, b.crop) for b in held} >= {("byol", "image"), ("byol", "grid")}
        assert list_backbones(connection, home, most=1) == held[:1]
        assert list_backbones(connection, home / "elsewhere") == []
        assert read_usual_seconds(connection, "attention") == (6.0, 3)
        assert read_usual_seconds(connection, "pairs") == (0.0, 0)


def test_the_page_shows_command_and_cost_and_runs_nothing_unless_allowed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(jobs.RUN, raising=False)
    page = show("pictures", name="attention", images="2")
    assert html(page)
    backbone = page.selectbox(key="pictures.backbone").value
    commands = [c.value for c in page.code]
    assert (
        f"bench figure attention --backbone {backbone} --count 2 --out attention.png" in commands
    )
    assert "Cost: about 6" in words(page)
    assert "median of the 3" in words(page)
    assert "bench dashboard --allow-run" in words(page)
    assert [b.label for b in page.button] == []
    with pytest.raises(PermissionError):
        Jobs().start("attention", command_words("attention"), "attention.png")
    monkeypatch.setenv(jobs.RUN, "yes")
    allowed = show("pictures", name="pairs")
    assert [b.label for b in allowed.button] == ["Run it"]
    assert "its cost is not known" in words(allowed)


def end(job: Job | None) -> Job:
    """The job, once it has ended."""
    assert job is not None
    until = time.monotonic() + HANG
    while job.code is None and time.monotonic() < until:
        time.sleep(0.05)
    return job


def test_a_job_runs_the_command_and_says_how_it_ended(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(jobs.RUN, "yes")
    mine = Jobs()
    assert mine.start("attention", command_words("attention", "abcd1234"), "attention.png")
    assert not mine.start("pairs", command_words("pairs"), "pairs.png")  # one at a time
    job = end(mine.last)
    assert job.command == "bench figure attention --backbone abcd1234 --out attention.png"
    assert job.code == 2
    assert "abcd1234" in job.last_line()  # the store has no such stage
    assert mine.running is None
    assert not job.folder.exists()


def test_a_cancelled_job_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Ctrl-C ends it; one that does not listen is killed."""
    monkeypatch.setenv(jobs.RUN, "yes")
    for program, code in (
        ("import time; print('begun', flush=True); time.sleep(600)", 1),
        (
            "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN);"
            "print('begun', flush=True); time.sleep(600)",
            -9,
        ),
    ):
        monkeypatch.setattr(jobs, "BENCH", (sys.executable, "-c", program))
        monkeypatch.setattr(jobs, "PATIENCE", HANG if code == 1 else 0.1)
        mine = Jobs()
        assert mine.start("x", ["figure"], "x.png")
        job = mine.last
        assert job is not None
        until = time.monotonic() + HANG
        while job.last_line() != "begun" and time.monotonic() < until:
            time.sleep(0.02)
        mine.stop()
        assert end(job).code in (code, -2)
        assert (job.code == -9) == (code == -9)
        assert job.seconds is not None
