"""Pages that follow a run: the curve of a stage that is being made, and the states of cells."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest
from sqlalchemy import select, update

from bench.core.running import note_work
from bench.core.stage import Stage
from bench.results.db.models import CellRow
from bench.results.views.running import read_live_stages
from tests.dashboard.browser import body, chromium, errors, open_page, serving, wait_for, why_not
from tests.dashboard.populate import fill
from tests.dashboard.test_pages import show, words

STAGE = Stage("pretrain", "supervised", 1, {"seed": 0}, "x:y")


def write_rows(home: Path, first: int, last: int, stage: Stage = STAGE) -> None:
    """Rows of a training for steps `first` to `last`, ten apart."""
    with open(home / "work" / stage.key[:32] / "history.jsonl", "a") as file:
        for step in range(first, last + 1, 10):
            file.write(json.dumps({"step": step, "loss": 4 / (1 + step), "lr": 0.1}) + "\n")


@pytest.fixture
def label(home: Path) -> str:
    """The running cell of a small database, whose pretraining has come to step 50."""
    home.mkdir(exist_ok=True)
    database = fill(f"sqlite:///{home / 'results.db'}", 12)
    with database.connect() as connection:
        found: str = connection.scalars(
            select(CellRow.label).where(CellRow.state == "running")
        ).one()
    work = home / "work" / STAGE.key[:32]
    work.mkdir(parents=True)
    note_work(work, STAGE, [found])
    write_rows(home, 10, 50)
    return found


def test_a_running_cell_shows_the_curve_of_what_is_made_for_it(home: Path, label: str) -> None:
    page = show("cell", key=label[:16])
    assert "Learning curves, live" in words(page)
    assert f"pretrain/supervised {STAGE.key[:12]}, step 50; last figures" in words(page)
    write_rows(home, 60, 90)
    assert "step 90;" in words(page.run())


def test_the_board_names_what_runs(label: str) -> None:
    text = words(show())
    assert "supervised × image × voc07_svm, seed 0" in text
    assert "◔ Running:" in text


def test_work_of_other_cells_and_torn_notes_are_left_out(home: Path, label: str) -> None:
    other = Stage("pretrain", "byol", 1, {"seed": 1}, "x:y")
    work = home / "work" / other.key[:32]
    work.mkdir()
    note_work(work, other, ["f" * 64])
    write_rows(home, 10, 20, other)
    for name, text in (
        ("torn", '{"stage"'),
        ("odd", '{"stage": 3, "cells": [1]}'),
        ("list", "[]"),
    ):
        note = home / "work" / name / "_scratch" / "running.json"
        note.parent.mkdir(parents=True)
        note.write_text(text)
    (stage,) = read_live_stages(label, home)
    assert [row["step"] for row in stage.rows] == [10, 20, 30, 40, 50]
    assert stage.quiet is not None
    assert stage.quiet < 600


def test_a_note_that_cannot_be_written_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "_scratch").write_text("a file in the place of the folder")
    note_work(tmp_path, STAGE, [])


@pytest.mark.skipif(bool(why_not()), reason=why_not() or "a browser is here")
def test_the_page_refreshes_itself(home: Path, label: str) -> None:
    """A new row of the curve, then the end of the cell, without a click."""
    from bench.results.db.database import open_database

    with serving(home) as address, chromium() as driver:
        open_page(driver, f"{address}/?page=cell&key={label[:16]}")
        wait_for(driver, lambda d: "step 50" in body(d))
        write_rows(home, 60, 120)
        started = time.monotonic()
        wait_for(driver, lambda d: "step 120" in body(d))
        assert time.monotonic() - started < 20
        with open_database(f"sqlite:///{home / 'results.db'}").engine.begin() as connection:
            one = CellRow.label == label
            connection.execute(update(CellRow).where(one).values(state="failed", reason="full"))
        wait_for(driver, lambda d: "failed: full" in body(d))
        assert errors(driver) == []
        shutil.rmtree(home / "work")
