"""How sure a sweep is of its best value, and the plot of it in the terminal."""

from __future__ import annotations

from statistics import fmean

import pytest

from bench.results.views.studies import TrialRow
from bench.results.views.trials import decide, describe_decision
from bench.sweep.report import BAR, plot


def trial(k: int, *scores: float) -> TrialRow:
    return {
        "number": k,
        "params": {"knn.k": k},
        "value": fmean(scores) if scores else None,
        "ci95": None,
        "scores": list(scores),
        "state": "complete" if scores else "fail",
        "reason": None,
        "cells": [],
        "commands": [],
        "made": 0,
        "online": {},
        "seconds": 1.0,
        "worker": None,
    }


def say(*trials: TrialRow) -> tuple[str, str]:
    """The verdict and the sentence."""
    decision = decide(trials)
    assert decision is not None
    return decision.verdict, describe_decision(decision)


def test_one_seed_decides_nothing_however_far_the_scores_are_apart() -> None:
    assert say(trial(1, 10.0), trial(3, 90.0), trial(5, 50.0)) == (
        "undecided",
        "undecided between k=3, k=5 and k=1 (one seed)",
    )


def test_overlapping_intervals_leave_it_undecided_between_those_that_overlap() -> None:
    trials = (trial(1, 10.0, 10.4, 10.1), trial(3, 50.0, 52.0, 51.0), trial(5, 50.5, 51.5, 51.8))
    assert say(*trials) == ("undecided", "undecided between k=5 and k=3 (their intervals overlap)")


def test_a_value_that_is_told_apart_from_all_others_is_supported() -> None:
    trials = (trial(1, 10.0, 10.4, 10.1), trial(3, 50.0, 50.2, 50.1), trial(5, 20.0, 20.4, 20.3))
    assert say(*trials) == ("supported", "supported: k=3 is told apart from the 2 other trial(s)")
    assert [("best" in line) for line in plot(trials, "knn.k", "top1")[1:]] == [False, True, False]


def test_many_rivals_are_counted_and_a_single_trial_proves_nothing() -> None:
    _, text = say(*(trial(k, 50.0 + k / 10) for k in range(8)))
    assert text == "undecided between k=7, k=6, k=5, k=4, k=3 and 3 more (one seed)"
    assert say(trial(1, 9.0, 9.1))[1] == "undecided: k=1 is the only complete trial"
    assert decide([]) is None
    assert decide([trial(1)]) is None


def bars(*values: float) -> tuple[str, list[int], list[bool]]:
    """The heading, the length of each bar, and which lines say "best"."""
    head, *lines = plot([trial(k, v) for k, v in enumerate(values)], "knn.k", "top1")
    return head, [line.count("█") for line in lines], ["best" in line for line in lines]


def test_bars_begin_at_zero_and_one_seed_is_never_best() -> None:
    head, lengths, best = bars(20.0, 60.0, 40.0)
    assert head.endswith("bars from 0.00 to 60.00")
    assert lengths == [round(BAR / 3), BAR, round(BAR * 2 / 3)]
    assert not any(best)


def test_scores_that_hardly_differ_have_bars_that_hardly_differ() -> None:
    assert bars(34.4, 35.4, 34.2)[1] == [39, 40, 39]


@pytest.mark.parametrize(
    ("value", "length", "ends"), [(0.0, 0, "0.00 to 1.00"), (50.0, BAR, "0.00 to 50.00")]
)
def test_equal_scores_have_equal_bars_from_zero_and_no_best(
    value: float, length: int, ends: str
) -> None:
    head, lengths, best = bars(value, value, value)
    assert head.endswith(f"bars from {ends}")
    assert lengths == [length] * 3
    assert not any(best)
