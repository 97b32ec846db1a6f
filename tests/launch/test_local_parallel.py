"""Several stages at once on this machine: the outcome of one process, what each process may use,
memory, what failures, kills and requests to stop mean."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from bench.core.errors import BadInput
from bench.core.params import Runtime
from bench.core.progress import Progress
from bench.core.relay import Relay, Replay
from bench.core.store import Store
from bench.launch import memory, parallel
from bench.launch.jobs import threads_of
from bench.launch.launchers import LAUNCHERS, gpu_groups, launcher
from bench.launch.local import LocalEngine
from bench.launch.memory import UNKNOWN_MIB, available_mib, expected_mib, resident_mib
from bench.launch.parallel import RETRIES, ParallelEngine
from bench.launch.workers import Slot
from bench.plan.cell import Plan
from tests.core.test_store import Heard
from tests.launch.toys import Notes, cell_of, engine, heard, notes, small_needs, toy
from tests.patience import HANG

__all__ = ["small_needs"]  # a fixture for every test here


def graph(log: str) -> Plan:
    """Two cells on one shared input, one that fails, one that cannot be."""
    shared = toy("shared", log=log)
    tops = [
        toy(f"top{i}", {"x": toy(f"mid{i}", {"x": shared}, log=log), "y": shared}, log=log)
        for i in "ab"
    ]
    bad = toy("bad", {"x": shared}, run="fail")
    return Plan([*map(cell_of, [*tops, toy("above", {"x": bad})]), cell_of(None, "no pair")])


def test_the_outcome_is_that_of_one_process(tmp_path: Path) -> None:
    found = []
    for name in ("one", "two"):
        home, log = tmp_path / name / "home", tmp_path / "log"
        runtime = Runtime(home=home, database="sqlite://", tracker="none")
        made = engine(home) if name == "two" else LocalEngine(runtime, Store(home), Heard())
        outcome = made.run(graph(str(log)))
        texts = {
            s.name: (made.store.folder(s) / "out.txt").read_text() for s in outcome.made.values()
        }
        errors = {key: str(e).partition("; traceback")[0] for key, e in outcome.errors.items()}
        listened = sorted(heard(made), key=str)
        listened = [(state, (why or "").partition("; traceback")[0]) for state, why in listened]
        found.append((texts, errors, outcome.reused, listened, sorted(log.read_text().split())))
        log.unlink()
    assert found[0] == found[1]
    assert found[0][0]["topa"] == "topa(mida(shared()),shared())"
    assert len(found[0][1]) == 2


def test_a_second_run_starts_no_process(home: Path, tmp_path: Path) -> None:
    plan = Plan(graph(str(tmp_path / "log")).cells[:2])
    engine(home).run(plan)
    again = engine(home)
    again.workers = None  # type: ignore[assignment]
    outcome = again.run(plan)
    assert (len(outcome.made), len(outcome.reused)) == (0, 2)
    assert heard(again) == [("done", None)] * 2


def test_force_makes_each_stage_again_once(home: Path, tmp_path: Path) -> None:
    plan = Plan(graph(str(tmp_path / "log")).cells[:2])
    engine(home).run(plan)
    assert len(engine(home, force=True).run(plan).made) == 5
    assert sorted((tmp_path / "log").read_text().split()) == sorted(
        ["shared", "mida", "midb", "topa", "topb"] * 2
    )


def test_a_damaged_input_is_made_again_by_the_stage_that_needs_it(home: Path) -> None:
    first = toy("a")
    folder = engine(home).run(Plan([cell_of(first)])) and Store(home).folder(first)
    (folder / "out.txt").write_text("z()")
    top = toy("top", {"x": first})
    made = engine(home)
    assert set(made.run(Plan([cell_of(top)])).made) == {first.key, top.key}
    assert (Store(home).folder(top) / "out.txt").read_text() == "top(a())"


def sleepers(count: int, seconds: float = 0.5, meet: int = 1) -> Plan:
    return Plan(
        [cell_of(toy(f"s{n}", run="sleep", seconds=seconds, meet=meet)) for n in range(count)]
    )


def logs(made: LocalEngine) -> list[dict[str, Any]]:
    return [
        json.loads((made.store.folder(s) / "log.json").read_text())
        for s in made.outcome.made.values()
    ]


def at_once(entries: list[dict[str, Any]]) -> int:
    """How many ran at the same time, at most."""
    return max(sum(e["from"] <= other["from"] < e["to"] for e in entries) for other in entries)


@pytest.mark.parametrize("slots", [2, 3])
def test_as_many_at_once_as_there_are_slots(home: Path, slots: int) -> None:
    made = engine(home, slots)
    assert len(made.run(sleepers(6, meet=slots)).made) == 6
    assert at_once(logs(made)) == slots


def test_a_slot_says_which_gpus_and_how_many_threads(home: Path) -> None:
    made = engine(home, [Slot(3, "0,1"), Slot(3, "2,3")])
    made.run(sleepers(4, meet=2))
    assert {e["gpus"] for e in logs(made)} == {"0,1", "2,3"}
    assert {(e["threads"], e["runtime"]) for e in logs(made)} == {("3", 3)}
    for one in logs(made):  # never two at once on the same GPUs
        assert at_once([e for e in logs(made) if e["gpus"] == one["gpus"]]) == 1


@pytest.mark.parametrize(
    ("given", "cpus", "expected"),
    [
        ({}, 4, 4),
        ({"devices": 2}, 4, 2),
        ({"devices": 8}, 4, 1),
        ({"threads": 7}, 4, 7),
        ({}, 0, 1),
    ],
)
def test_threads_are_the_cores_divided(
    home: Path, given: dict[str, Any], cpus: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert threads_of(Runtime(home=home, database="", **given), cpus) == expected
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert threads_of(Runtime(home=home, database="", **given), cpus) == (
        7 if "threads" in given else 1
    )


def test_without_room_for_two_one_at_a_time_runs(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "available_mib", lambda: 100)
    monkeypatch.setattr(memory, "UNKNOWN_MIB", 101)
    made = engine(home)
    assert len(made.run(sleepers(2, 0.3)).made) == 2
    assert at_once(logs(made)) == 1
    assert any("waits for memory, 101 MiB" in note for note in notes(made))


def test_what_a_stage_took_is_what_the_next_is_expected_to_take(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room for two of what they really take, not for two of what is assumed of unknown stages."""
    monkeypatch.setattr(parallel, "available_mib", lambda: 3000)
    monkeypatch.setattr(memory, "UNKNOWN_MIB", 2500)
    same = [cell_of(toy("s", run="sleep", seconds=1.5, seed=n)) for n in range(5)]
    made = engine(home)
    made.run(Plan(same))
    entries = sorted(logs(made), key=lambda e: e["from"])
    assert entries[1]["from"] >= entries[0]["to"]
    assert at_once(entries) == 2
    peaks = expected_mib(made.store, [c.final for c in same if c.final])
    assert all(0 < peak < 2500 for peak in peaks.values())


def test_memory_is_read_from_the_system(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = available_mib()
    if free is None:
        pytest.skip("this system does not say how much memory it has")
    assert 0 < free < 1 << 24
    block = bytearray(os.urandom(1 << 20) * 200)
    assert resident_mib(os.getpid()) >= 200
    del block
    monkeypatch.undo()
    assert set(expected_mib(Store(home), [toy("new")]).values()) == {UNKNOWN_MIB}


def test_a_killed_process_is_started_again_and_finds_its_scratch(home: Path) -> None:
    made = engine(home)
    victim = toy("v", run="die", times=RETRIES)
    outcome = made.run(Plan([cell_of(victim), *sleepers(2).cells]))
    assert not outcome.errors
    assert (made.store.folder(victim) / "out.txt").read_text() == str(RETRIES + 1)
    assert (
        sum("was killed by signal 9; it goes on in another" in note for note in notes(made))
        == RETRIES
    )


def test_killed_once_too_often_fails_its_cells_and_no_others(home: Path) -> None:
    made = engine(home)
    victim = toy("v", run="die", times=RETRIES + 1)
    outcome = made.run(Plan([cell_of(toy("top", {"x": victim})), *sleepers(2).cells]))
    assert len(outcome.errors) == 2
    text = str(outcome.errors[victim.key])
    assert (
        f"was killed by signal 9, {RETRIES + 1} times in all, perhaps for want of memory" in text
    )
    assert outcome.errors[victim.key].exit_code == 1
    assert len(outcome.made) == 2
    assert len(engine(home).run(Plan([cell_of(victim)])).made) == 1  # the same command goes on


def test_a_process_that_alone_is_asked_to_stop_goes_on_in_another(home: Path) -> None:
    made = engine(home)
    victim = toy("v", run="die", times=1, how="SIGUSR1")
    assert not made.run(Plan([cell_of(victim)])).errors
    assert any("was asked to stop; it goes on in another" in note for note in notes(made))


def test_asked_twice_it_leaves_at_once(home: Path) -> None:
    made = engine(home)

    def ask() -> None:
        while not (home / "pid").exists():
            time.sleep(0.05)
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1.2)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        made.run(Plan([cell_of(toy("s", run="stubborn"))]))
    thread.join(30)
    assert time.monotonic() - start < HANG / 5  # the stage alone would take far longer
    assert not Path(f"/proc/{(home / 'pid').read_text()}").exists()
    assert heard(made)[-1][0] == "interrupted"


def test_relayed_progress_adds_up_and_is_not_told_at_every_step() -> None:
    sent: list[tuple[Any, ...]] = []
    advance = Relay(lambda *message: sent.append(message)).task("x", 1000, 10)
    for n in range(990):
        advance(1, loss=float(n))
    advances = [m for m in sent if m[0] == "advance"]
    assert sum(n for _, _, n, _ in advances) == 990
    assert advances[-1][3] == {"loss": 989.0}
    assert len(advances) < 100
    shown = Notes()
    replay = Replay(shown, "abc")
    for message in sent:
        assert replay.show(*message)
    assert shown.bars == [("x abc", 1000)]
    assert not replay.show("report", None)
    replay.end()
    assert shown.gone == 1


def test_one_at_a_time_is_this_process(home: Path) -> None:
    def made(**given: Any) -> LocalEngine:
        runtime = Runtime(home=home, database="sqlite://", **given)
        return launcher("local")(runtime, Store(home), Heard(), Progress())

    assert type(made(max_parallel=1, devices="cpu")) is LocalEngine
    assert type(made(devices="cpu")) is LocalEngine
    assert type(made(max_parallel=2, devices="cpu")) is ParallelEngine
    assert gpu_groups(Runtime(home=home, database="", devices="cpu")) == []
    with pytest.raises(BadInput, match="--nodes 2 trains one stage on all machines"):
        made(max_parallel=2, nodes=2)


def test_an_unknown_launcher_is_one_line_with_the_nearest_name() -> None:
    with pytest.raises(
        BadInput, match=r"unknown launcher 'rya' \(did you mean 'ray'\?\); known: local, ray"
    ):
        launcher("rya")
    assert set(LAUNCHERS) == {"local", "ray", "slurm"}


@pytest.mark.parametrize("parallel_engine", [False, True])
def test_a_stage_that_is_made_notes_its_cells(home: Path, parallel_engine: bool) -> None:
    """For who watches; a committed stage has no such note."""
    shared = toy("shared", run="read_note")
    tops = [toy(name, {"x": shared}, run="read_note") for name in ("one", "two")]
    runtime = Runtime(home=home, database="sqlite://", tracker="none")
    made = engine(home) if parallel_engine else LocalEngine(runtime, Store(home), Heard())
    made.run(Plan([cell_of(top) for top in tops]))
    texts = {s.name: (made.store.folder(s) / "out.txt").read_text() for s in (shared, *tops)}
    keys = {top.name: top.key for top in tops}
    assert texts == {**keys, "shared": " ".join(sorted(keys.values()))}
    assert not list(home.rglob("running.json"))
