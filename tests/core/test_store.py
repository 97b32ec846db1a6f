"""The store: atomic commits, damage, locks. The engine on top of it: each stage once, resume,
failures."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bench.contracts.context import StageContext
from bench.core.errors import BadInput, BenchError, StageFailed
from bench.core.params import Runtime
from bench.core.stage import Stage
from bench.core.store import SCRATCH, Store
from bench.launch.local import LocalEngine
from bench.plan.cell import Cell, Plan, PlannedCell
from tests.core.runners import HELD, stage
from tests.forked import CONTEXT
from tests.patience import HANG


class Heard:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.states: list[tuple[str, str | None]] = []
        self.stages: list[str] = []

    def stage_done(self, stage: Stage, folder: Path, provenance: dict[str, Any]) -> None:
        self.stages.append(stage.name)

    def cell_state(self, cell: PlannedCell, state: str, reason: str | None = None) -> None:
        self.states.append((state, reason))

    def cell_done(self, cell: PlannedCell, folder: Path) -> None:
        self.states.append(("done", None))


def engine(home: Path, **runtime: Any) -> LocalEngine:
    made = LocalEngine(
        Runtime(home=home, database="sqlite://", tracker="none", **runtime), Store(home), Heard()
    )
    return made


def test_a_stage_is_made_once_and_reused(home: Path, tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    a = stage("a", log=log)
    top = stage("top", {"x": a, "y": stage("b", {"x": a}, log=log)}, log=log)
    folder = engine(home).ensure(top)
    assert (folder / "out.txt").read_text() == "top(a(),b(a()))"
    again = engine(home)
    assert again.ensure(top) == folder
    assert (tmp_path / "log").read_text().split() == ["a", "b", "top"]
    assert [s.name for s in again.outcome.reused.values()] == ["top"]


def test_commit_records_stage_provenance_and_hashes(home: Path) -> None:
    folder = engine(home).ensure(stage("a"))
    assert json.loads((folder / "stage.json").read_text())["name"] == "a"
    made = json.loads((folder / "provenance.json").read_text())
    assert {
        "commit",
        "dirty",
        "packages",
        "host",
        "device",
        "seconds",
        "arguments",
        "source_digest",
    } <= set(made)
    done = json.loads((folder / "done").read_text())
    assert set(done["files"]) == {"out.txt", "stage.json", "provenance.json"}
    assert not (folder / "_scratch").exists()


class Killed(BaseException):
    """What stands for a kill: no handler of ours catches it."""


def killed_at(moment: int, patch: pytest.MonkeyPatch) -> None:
    """Die at the `moment`-th call to the file system that makes something last."""
    calls = itertools.count(1)

    def wrapped(real: Any) -> Any:
        def call(*arguments: Any) -> Any:
            if next(calls) == moment:
                raise Killed
            return real(*arguments)

        return call

    for name in ("fsync", "replace", "rename"):
        patch.setattr(f"bench.core.store.os.{name}", wrapped(getattr(os, name)))


def test_a_commit_killed_at_any_moment_is_whole_the_next_time(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(home)
    for moment in itertools.count(1):
        what = stage("data", moment=moment)
        (store.work(what) / "out.txt").write_text("result")
        checkpoint = store.work(what) / SCRATCH / "checkpoint"
        checkpoint.parent.mkdir()
        checkpoint.write_text("all steps done")
        with monkeypatch.context() as patch:
            killed_at(moment, patch)
            try:
                store.commit(what, {})
            except Killed:
                pass
            else:
                break
        if not store.has(what):  # killed before the folder was in its place
            assert checkpoint.exists(), "the runner would begin again"
            store.commit(what, {})
            assert sorted(p.name for p in store.folder(what).iterdir()) == sorted(
                ["done", "out.txt", "provenance.json", "stage.json"]
            )
        assert store.verify(what)
    assert moment > 8
    assert not (home / "damaged").exists()
    assert not any((home / "work").iterdir())


def test_a_folder_without_done_is_no_hit(home: Path) -> None:
    a = stage("a")
    folder = engine(home).ensure(a)
    (folder / "done").unlink()
    assert not Store(home).has(a)
    assert (engine(home).ensure(a) / "done").exists()


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
def test_a_damaged_input_is_set_aside_and_made_again(home: Path, damage: str) -> None:
    a = stage("a")
    file = engine(home).ensure(a) / "out.txt"
    if damage == "truncate":
        file.write_text("a")
    elif damage == "flip":
        file.write_text("z()")
    else:
        file.unlink()
    folder = engine(home).ensure(stage("top", {"x": a}))
    assert (folder / "out.txt").read_text() == "top(a())"
    assert len(list((home / "damaged").iterdir())) == 1


def test_force_makes_again(home: Path, tmp_path: Path) -> None:
    a = stage("a", log=str(tmp_path / "log"))
    engine(home).ensure(a)
    forced = engine(home, force=True)
    forced.run(Plan([cell_of(a)]))
    assert (tmp_path / "log").read_text().split() == ["a", "a"]


def cell_of(final: Stage | None, reason: str | None = None) -> PlannedCell:
    return PlannedCell(Cell("m", "c", "t", "d", "d", "tiny", 0), final, "", reason)


def test_a_failed_stage_lets_go_of_what_it_held(home: Path) -> None:
    """The error is kept until the command ends; loaders that its frames hold would end only then,
    with a traceback on the screen."""
    bad = stage("bad", run="hold_and_fail")
    outcome = engine(home).run(Plan([cell_of(bad)]))
    assert "while it holds something" in str(outcome.errors[bad.key])
    assert HELD[-1]() is None


def test_one_failing_cell_does_not_stop_the_others(home: Path) -> None:
    bad = stage("bad", run="fail")
    plan = Plan([cell_of(stage("top", {"x": bad})), cell_of(None, "no pair"), cell_of(bad)])
    made = engine(home)
    outcome = made.run(plan)
    assert set(outcome.errors) == {bad.key, plan.cells[0].final.key}  # type: ignore[union-attr]
    text = str(outcome.errors[bad.key])
    assert "ValueError: on purpose" in text
    assert "\n" not in text
    assert "Traceback" in Path(text.rpartition("traceback: ")[2]).read_text()
    assert [s for s, _ in made.listener.states] == [
        "running",
        "failed",
        "unsupported",
        "running",
        "failed",
    ]  # type: ignore[attr-defined]
    assert not Store(home).has(bad)


def test_bad_data_keeps_its_line_and_its_exit_code(home: Path) -> None:
    with pytest.raises(BenchError, match=r"image 3\.jpg does not decode") as caught:
        engine(home).ensure(stage("x", run="bad_data"))
    assert caught.value.exit_code == 2


def test_a_killed_stage_finds_its_scratch_again(home: Path) -> None:
    code = (
        "from tests.core.test_store import engine; from tests.core.runners import stage;"
        f"from pathlib import Path; engine(Path({str(home)!r})).ensure(stage('k', "
        "run='count_and_die'))"
    )
    codes = [
        subprocess.run([sys.executable, "-c", code], timeout=HANG).returncode for _ in range(3)
    ]
    assert codes == [-signal.SIGKILL, -signal.SIGKILL, 0]
    assert (Store(home).folder(stage("k", run="count_and_die")) / "out.txt").read_text() == "3"


def _race(home: Path, log: str, start: float) -> None:
    time.sleep(max(0.0, start - time.time()))
    engine(home).ensure(stage("top", {"x": stage("a", log=log, sleep=0.3)}, log=log))


def test_two_processes_make_each_stage_once(home: Path, tmp_path: Path) -> None:
    log = str(tmp_path / "log")
    start = time.time() + 3
    pair = [CONTEXT.Process(target=_race, args=(home, log, start)) for _ in range(2)]
    for process in pair:
        process.start()
    for process in pair:
        process.join(60)
        assert process.exitcode == 0
    assert sorted((tmp_path / "log").read_text().split()) == ["a", "top"]


def test_a_dead_owner_gives_up_its_lock(home: Path) -> None:
    a = stage("a")
    code = (
        "import time; from bench.core.store import Store; from tests.core.runners import stage;"
        f"from pathlib import Path; s = Store(Path({str(home)!r}));\n"
        "with s.lock(stage('a')): print('held', flush=True); time.sleep(60)"
    )
    owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    assert owner.stdout.readline() == "held\n"
    waited: list[str] = []
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    with Store(home).lock(a, waited.append):
        pass
    assert waited == []


def test_a_live_owner_is_named_while_we_wait(home: Path) -> None:
    code = (
        "import time; from bench.core.store import Store; from tests.core.runners import stage;"
        f"from pathlib import Path; s = Store(Path({str(home)!r}));\n"
        "with s.lock(stage('a')): print('held', flush=True); time.sleep(1)"
    )
    owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    assert owner.stdout.readline() == "held\n"
    waited: list[str] = []
    with Store(home).lock(stage("a"), waited.append):
        assert owner.wait(10) == 0
    assert f"pid {owner.pid}" in waited[0]


def test_a_home_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(BadInput, match="cannot be written"):
        Store(blocked / "home")


def test_a_full_disk_is_one_line_and_keeps_the_work(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.core import runners

    def full(ctx: StageContext) -> None:
        (ctx.scratch / "kept").write_text("x")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runners, "write", full)
    with pytest.raises(BadInput, match="no space left in BENCH_HOME"):
        engine(home).ensure(stage("a"))
    assert (Store(home).work(stage("a")) / "_scratch" / "kept").exists()


def test_find_wants_one_hit(home: Path) -> None:
    a = stage("a")
    engine(home).ensure(a)
    assert Store(home).find(a.short)[1]["key"] == a.key
    for prefix in ("0" * 12, a.key[:2]):
        with pytest.raises(BadInput):
            Store(home).find(prefix)
    assert issubclass(StageFailed, BenchError)


def test_a_database_that_cannot_be_written_loses_nothing(home: Path) -> None:
    from sqlalchemy.exc import OperationalError

    from bench.results.db.connection import explain
    from bench.results.db.database import open_database
    from bench.results.db.listener import DatabaseListener

    database = open_database(f"sqlite:///{home / 'results.db'}")
    listener = DatabaseListener(database)

    def full(*arguments: Any) -> None:
        error = OperationalError("INSERT", {}, Exception("database or disk is full"))
        raise explain(error, "sqlite://", "written")

    database.record_stage = database.record_cell = full  # type: ignore[method-assign, assignment]
    made = LocalEngine(
        Runtime(home=home, database="sqlite://", tracker="none"), Store(home), listener
    )
    a = stage("a")
    made.ensure(a)
    assert Store(home).has(a)
    assert listener.error == "database or disk is full"
