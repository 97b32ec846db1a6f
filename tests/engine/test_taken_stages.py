"""Stages that another command makes: this one makes others meanwhile."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from bench.cell import Plan
from bench.engine.parallel import ParallelEngine
from bench.stage import Stage
from bench.store import Store
from tests.core.test_store import Heard
from tests.engine.test_local_parallel import cell_of, engine, notes, small_needs, toy

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


def run(made: ParallelEngine, store: Store) -> list[str]:
    """Makes `taken` and `free` with one slot, while somebody has the lock of `taken` until `free` is made."""
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


def test_what_another_command_makes_is_left_to_it(home: Path) -> None:
    made = engine(home, slots=1)
    assert run(made, Store(home)) == ["free", "taken"]


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
