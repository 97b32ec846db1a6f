"""Stages that another command makes: this one makes others meanwhile."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from bench.core.stage import Stage
from bench.core.store import Store
from bench.launch.local import LocalEngine
from bench.plan.cell import Plan
from tests.core.test_store import Heard
from tests.launch.toys import Notes, cell_of, engine, notes, small_needs, toy

__all__ = ["small_needs"]  # a fixture for every test here


class Freeing(Heard):
    """Gives a lock up when a stage was made."""

    def __init__(self, held: ExitStack) -> None:
        super().__init__()
        self.held, self.made = held, list[str]()

    def stage_done(self, stage: Stage, folder: Path, provenance: dict[str, Any]) -> None:
        super().stage_done(stage, folder, provenance)
        self.made.append(stage.name)
        self.held.close()


class Waiting(Notes):
    """Gives a lock up when somebody says that they wait for it."""

    def __init__(self, held: ExitStack) -> None:
        super().__init__()
        self.held = held

    def note(self, text: str) -> None:
        super().note(text)
        if "waiting" in text:
            self.held.close()


def run(made: LocalEngine, store: Store) -> list[str]:
    """Makes `taken` and `free` with one slot, while somebody has the lock of `taken` until `free`
    is made."""
    taken, free = toy("taken"), toy("free")
    with ExitStack() as held:
        held.enter_context(store.lock(taken))
        made.listener = Freeing(held)
        outcome = made.run(Plan([cell_of(taken), cell_of(free)]))
    assert not outcome.errors
    (note,) = notes(made)
    assert note.startswith(f"{taken}: left to ")
    assert len(outcome.made) == 2
    return made.listener.made


@pytest.mark.parametrize("how", ["in this process", "in others"])
def test_what_another_command_makes_is_left_to_it(how: str, home: Path) -> None:
    made = engine(home, slots=1)
    if how == "in this process":
        made = LocalEngine(
            made.runtime, made.store, progress=made.progress, listener=made.listener
        )
    assert run(made, Store(home)) == ["free", "taken"]


def test_one_that_stays_taken_is_waited_for(home: Path) -> None:
    """There is nothing else to do; both cells need it, and none fails or is made twice."""
    taken = toy("taken")
    log = home / "log"
    plan = Plan([cell_of(toy(name, {"x": taken}, log=str(log))) for name in ("a", "b")])
    with ExitStack() as held:
        held.enter_context(Store(home).lock(taken))
        notes = Waiting(held)
        given = engine(home)
        made = LocalEngine(given.runtime, given.store, given.listener, notes)
        outcome = made.run(plan)
    assert [s.name for s in outcome.made.values()] == ["taken", "a", "b"]
    assert not outcome.errors
    assert [text.split(": ")[1].split()[0] for text in notes.notes] == ["left", "waiting"]
    assert log.read_text().split() == ["a", "b"]


def test_a_process_that_finds_its_stage_taken_takes_no_slot(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two commands that begin in the same moment see every stage free."""
    made = engine(home, slots=1)
    owner, asked = made.store.owner, list[str]()

    def nobody_at_first(stage: Stage) -> str | None:
        asked.append(stage.name)
        return owner(stage) if asked.count(stage.name) > 1 else None

    monkeypatch.setattr(made.store, "owner", nobody_at_first)
    assert run(made, Store(home)) == ["free", "taken"]
