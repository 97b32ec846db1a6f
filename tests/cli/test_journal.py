"""bench runs, note, tag and delete: what was run, what people write about it, how it goes."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from bench.core.errors import BadInput
from bench.core.params import Runtime
from bench.core.stage import Stage
from bench.core.store import Store
from bench.launch.local import LocalEngine
from bench.plan.cell import Cell, Plan, PlannedCell
from bench.results.db import journal
from bench.results.db.database import Database, open_database
from bench.results.db.kept import keep_import
from bench.results.db.listener import DatabaseListener
from tests.cli.conftest import Bench
from tests.launch.toys import RUNNERS
from tests.results.test_results import record

USERS = ("ada", "bo")


def cell_of(task: str, backbone: Stage, run: str = "write") -> PlannedCell:
    final = Stage("evaluate", task, 1, {"seed": 0}, f"{RUNNERS}:{run}", {"backbone": backbone})
    return PlannedCell(Cell("byol", "image", task, "scenes", "scenes", "tiny", 0), final, "")


@pytest.fixture
def keys(home: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The key of a backbone and of three cells that it has: one by ada and, later, two by bo, of
    which `knn` failed."""
    backbone = Stage("pretrain", "byol", 1, {"seed": 0, "method": {}}, f"{RUNNERS}:write", {})
    cells = {
        "coco_det": cell_of("coco_det", backbone),
        "voc07_svm": cell_of("voc07_svm", backbone),
        "knn": cell_of("knn", backbone, "fail"),
    }
    for number, cell in enumerate(cells.values()):
        user = USERS[min(number, 1)]
        monkeypatch.setattr(journal, "user_name", lambda user=user: user)
        url = f"sqlite:///{home}/results.db"
        runtime = Runtime(home=home, database=url, tracker="none")
        listener = DatabaseListener(open_database(url), home=home)
        LocalEngine(runtime, Store(home), listener).run(Plan([cell]))
        assert cell.final is not None
    finals = {name: cell.final.key for name, cell in cells.items() if cell.final}
    return {"backbone": backbone.key, **finals}


def database(home: Path) -> Database:
    return open_database(f"sqlite:///{home}/results.db")


def listed(bench: Bench, *options: str) -> list[str]:
    return [run["task"] for run in json.loads(bench("runs", "--json", *options)[1])]


def test_runs_are_listed_newest_first_and_by_user(keys: dict[str, str], bench: Bench) -> None:
    assert listed(bench) == ["knn", "voc07_svm", "coco_det"]
    assert listed(bench, "--mine") == ["knn", "voc07_svm"]  # this user is bo now
    assert listed(bench, "--limit", "1") == ["knn"]
    assert listed(bench, "--task", "voc*") == ["voc07_svm"]
    runs = {r["task"]: r for r in json.loads(bench("runs", "--json")[1])}
    assert (runs["coco_det"]["user"], runs["coco_det"]["value"]) == ("ada", 1.0)
    assert (runs["knn"]["state"], runs["knn"]["value"]) == ("failed", None)
    text = bench("runs")[1]
    assert keys["coco_det"][:12] in text
    assert time.strftime("%Y-%m-%d") in text


def test_running_a_finished_cell_again_does_not_make_it_newer(
    keys: dict[str, str], home: Path
) -> None:
    before = database(home).read_runs()
    result = next(
        r for r in database(home).read_results() if r["cell"]["label"] == keys["coco_det"]
    )
    database(home).record_result(result)
    assert database(home).read_runs() == before


def test_notes_and_tags_are_written_and_survive_a_rebuild(
    keys: dict[str, str], home: Path, bench: Bench
) -> None:
    assert bench("note", keys["coco_det"][:8], "rate too high")[0] == 0
    assert bench("tag", keys["coco_det"][:8], "paper", "ablation")[1] == "tags: paper, ablation\n"
    assert bench("tag", keys["knn"][:8], "paper")[0] == 0
    assert bench("tag", keys["coco_det"][:8], "--remove", "ablation")[1] == "tags: paper\n"
    assert listed(bench, "--tag", "paper") == ["knn", "coco_det"]
    assert listed(bench, "--tag", "ablation") == []
    assert "rate too high" in bench("runs")[1]
    for file in home.glob("results.db*"):
        file.unlink()
    assert bench("results", "rebuild")[0] == 0
    runs = {r["task"]: r for r in json.loads(bench("runs", "--json")[1])}
    assert (runs["coco_det"]["note"], runs["coco_det"]["tags"]) == ("rate too high", ["paper"])
    assert runs["knn"]["tags"] == ["paper"]
    done = home / "store" / "evaluate" / f"coco_det-{keys['coco_det'][:12]}" / "done"
    assert runs["coco_det"]["changed"] == done.stat().st_mtime  # as the file system says
    assert bench("note", keys["coco_det"][:8], "")[0] == 0
    assert (
        not (home / "records" / "notes" / f"{keys['coco_det'][:32]}.json")
        .read_text()
        .count("rate")
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["note", "0123456789", "x"], "no cell has a key"),
        (["note", "ab", "x"], "at least 4 digits"),
        (["note", "KEY", "a\x1b[31mb"], "printable"),
        (["tag", "KEY", "a,b"], "no comma"),
        (["tag", "KEY", "x" * 65], "at most 64"),
        (["delete", "KEY"], "add: --yes"),
    ],
)
def test_what_cannot_be_done_says_why(
    keys: dict[str, str], bench: Bench, words: list[str], message: str
) -> None:
    code, _, err = bench(*(keys["coco_det"] if word == "KEY" else word for word in words))
    assert code == 2
    assert message in err


def test_deleting_takes_a_stage_its_results_and_what_is_kept(
    keys: dict[str, str], home: Path, bench: Bench
) -> None:
    bench("tag", keys["coco_det"][:8], "paper")
    code, out, _ = bench("delete", keys["coco_det"][:10], "--yes")
    assert code == 0
    assert "byol x image x coco_det seed 0, done" in out
    assert bench("delete", keys["knn"][:10], "--yes")[0] == 0  # failed: it has no folder
    assert listed(bench) == ["voc07_svm"]
    assert not list(home.glob("store/evaluate/coco_det-*"))
    bench("results", "rebuild")
    assert listed(bench) == ["voc07_svm"]
    with database(home).connect() as connection:
        for table in ("cells", "results", "journal"):
            assert connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar() == 1
        assert connection.exec_driver_sql("SELECT count(*) FROM stages").scalar() == 2


def test_an_input_of_others_and_a_used_stage_are_not_deleted(
    keys: dict[str, str], home: Path, bench: Bench
) -> None:
    code, _, err = bench("delete", keys["backbone"][:10], "--yes")
    assert code == 2
    assert "is an input of 2 stage(s)" in err
    assert len(list(home.glob("store/pretrain/byol-*"))) == 1
    store = Store(home)
    _, found = store.find(keys["coco_det"])
    stage = Stage(found["kind"], found["name"], 1, found["params"], "", {})
    object.__setattr__(stage, "__dict__", {**stage.__dict__, "key": keys["coco_det"]})
    with store.lock(stage):
        code, _, err = bench("delete", keys["coco_det"][:10], "--yes")
    assert code == 2
    assert "by a process now" in err
    assert len(listed(bench)) == 3


def test_an_imported_result_does_not_come_back(home: Path, bench: Bench) -> None:
    records = [record(30.0), record(31.0, seed=1)]
    Store(home)
    database(home).record_import(records, "a file")
    keep_import(home, records)
    key = records[0]["cell"]["label"]
    assert bench("delete", key, "--yes")[0] == 0
    for file in home.glob("results.db*"):
        file.unlink()
    bench("results", "rebuild")
    assert [r["seed"] for r in json.loads(bench("runs", "--json")[1])] == [1]


def test_an_older_database_gets_the_journal(home: Path, keys: dict[str, str]) -> None:
    opened = database(home)
    with opened.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE journal")
        connection.exec_driver_sql("UPDATE bench_version SET version_num = '0004'")
    runs = database(home).read_runs()
    assert [r["changed"] for r in runs] == [None] * 3
    assert {r["user"] for r in runs} == {""}


def test_a_user_that_the_system_does_not_know_has_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)
    assert journal.user_name.__wrapped__() == ""


def test_several_cells_of_one_beginning_are_refused(
    home: Path, keys: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.api.journal import find_cell

    opened = database(home)
    monkeypatch.setattr(opened, "find_cells", lambda key: opened.read_cells())
    with pytest.raises(BadInput, match="3 cells have keys that start"):
        find_cell(opened, "abcd")
