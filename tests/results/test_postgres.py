"""The results database on a PostgreSQL server, for real: the same rows as SQLite, several writers,
lost connections, a restart, Optuna's studies beside it."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import inspect
from sqlalchemy.engine import make_url

from bench.core.errors import BadInput
from bench.core.stage import walk
from bench.results.db.database import Database, open_database
from bench.results.db.result_file import describe_cell
from tests.forked import CONTEXT
from tests.postgres import Server
from tests.results.test_results import planned, record, url


@pytest.fixture
def where(postgres: Server) -> str:
    return postgres.database()


def fill(database: Database) -> None:
    """What a small matrix leaves: results of two methods and three seeds, a failure, an import."""
    for seed, ap in enumerate((30.0, 1 / 3, 37.0)):
        p = planned(seed=seed)
        assert p.final is not None
        for stage in walk(p.final):
            database.record_stage(
                stage.record(), f"{stage.kind}/{stage.short}", {"seconds": 1.5, "a": None}
            )
        database.record_cell(describe_cell(p), "running")
        database.record_result(record(ap, seed=seed))
    database.record_result(record(35.0, method="orl"))
    database.record_result(record(5.0, method="orl"), source="imported")
    database.record_cell(describe_cell(planned(seed=9)), "failed", "because of 'this' – %s")


def test_rows_cells_and_results_equal_sqlites(where: str, tmp_path: Path) -> None:
    both = [open_database(where), open_database(url(tmp_path))]
    for database in both:
        fill(database)
        fill(database)
    theirs, ours = ((d.read_rows(), d.read_cells(), d.read_results()) for d in both)
    assert theirs == ours
    assert len(theirs[0]) == 3


def _write(where: str, start: float, seeds: list[int]) -> None:
    time.sleep(max(0.0, start - time.time()))
    database = open_database(where)
    for seed in seeds:
        database.record_cell(record(1.0, seed=seed)["cell"], "running")
        database.record_result(record(float(seed), seed=seed))


@pytest.mark.parametrize("shared", [True, False])
def test_workers_that_start_together_migrate_once_and_write_everything(
    where: str, shared: bool
) -> None:
    """Four at once, each its own rows or all of them the same."""
    start = time.time() + 2
    parts = [list(range(12)) if shared else list(range(i, 40, 4)) for i in range(4)]
    members = [CONTEXT.Process(target=_write, args=(where, start, part)) for part in parts]
    for member in members:
        member.start()
    for member in members:
        member.join(60)
        assert member.exitcode == 0
    (row,) = open_database(where).read_rows()
    seeds = sorted({seed for part in parts for seed in part})
    assert row["seeds"] == seeds
    assert row["metrics"]["AP_bbox"]["n"] == len(seeds)


def test_connections_ended_on_the_way_lose_nothing(where: str, postgres: Server) -> None:
    database = open_database(where)
    over = threading.Event()
    ended = count = 0

    def end() -> None:  # once per recorded result at most: a slow machine has few retries
        nonlocal ended
        last = -1
        while not over.wait(0.02):
            if count > last:
                last = count
                ended += postgres.end_connections(make_url(where).database)

    thread = threading.Thread(target=end)
    thread.start()
    try:
        while ended < 5 and count < 2000:
            database.record_result(record(float(count), seed=count))
            count += 1
    finally:
        over.set()
        thread.join()
    assert ended >= 5
    (row,) = database.read_rows()
    assert row["seeds"] == list(range(count))
    assert row["metrics"]["AP_bbox"]["mean"] == pytest.approx((count - 1) / 2)


def test_a_restart_of_the_server_is_waited_for(where: str, postgres: Server) -> None:
    database = open_database(where)
    database.record_result(record(1.0))
    postgres.stop()
    thread = threading.Thread(target=database.record_result, args=(record(3.0, seed=1),))
    thread.start()
    time.sleep(1.0)
    postgres.start()  # here: it dies with the thread that started it
    thread.join()
    (row,) = database.read_rows()
    assert row["metrics"]["AP_bbox"]["mean"] == 2.0


@pytest.mark.parametrize("first", ["bench", "optuna"])
def test_optunas_studies_live_in_the_same_database(where: str, first: str) -> None:
    import optuna

    def ours() -> Any:
        database = open_database(where)
        database.record_result(record(1.0))
        return database

    database = ours() if first == "bench" else None
    study = optuna.create_study(storage=where, study_name="s")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    database = database or ours()
    assert len(database.read_rows()) == 1
    assert len(optuna.load_study(storage=where, study_name="s").trials) == 2
    assert {"alembic_version", "bench_version", "cells", "studies"} <= set(
        inspect(database.engine).get_table_names()
    )
    assert open_database(where).read_rows() == database.read_rows()


def test_a_server_that_is_not_there_is_one_line(tmp_path: Path, postgres: Server) -> None:
    with pytest.raises(BadInput, match="cannot be opened") as caught:
        open_database(f"postgresql+psycopg://me:secret@/x?host={tmp_path}")
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "check that its server runs" in str(caught.value)
    assert "rebuild" not in str(caught.value)  # nothing is damaged
