"""What a sweep says in a log: trials that ended, and from time to time how far it is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from bench.sweep import lines
from bench.sweep.lines import TrialLines


def trial(number: int, state: str, value: float | None = None, seconds: float = 0) -> Any:
    return {
        "number": number,
        "params": {"knn.k": number},
        "state": state,
        "value": value,
        "ci95": None,
        "scores": [] if value is None else [value],
        "reason": None,
        "made": 1,
        "seconds": seconds or None,
    }


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(lines.time, "monotonic", lambda: now.seconds)
    return now


def test_it_says_who_ended_what_runs_the_best_and_the_time_left(clock: SimpleNamespace) -> None:
    said: list[str] = []
    sweep = SimpleNamespace(setup=SimpleNamespace(trials=5))
    show = TrialLines(cast(Any, sweep), said.append, parallel=2)
    rows = [trial(0, "complete", 10.0, 40), trial(1, "running"), trial(2, "waiting")]
    doing = {"host:1": "pretrain byol: 3/90"}
    clock.seconds = 5
    show(rows, doing)
    assert said == ["trial 0: k=0: 10.00 (complete)"]
    clock.seconds = 15
    show(rows, doing)
    show(rows, doing)
    rows[1] = trial(1, "complete", 12.5, 60)
    clock.seconds = 31
    show(rows, doing)
    assert said[1:] == [
        "1 of 5 trials, 15 s, about 80 s left; best so far k=0: 10.00; now: pretrain byol: 3/90",
        "trial 1: k=1: 12.50 (complete)",
        "2 of 5 trials, 31 s, about 75 s left; best so far k=1: 12.50; now: pretrain byol: 3/90",
    ]
