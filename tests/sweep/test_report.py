"""The plot of a sweep in the terminal: how long its bars are."""

from __future__ import annotations

import pytest

from bench.results.views.studies import TrialRow
from bench.sweep.report import BAR, plot


def trial(value: float, k: int) -> TrialRow:
    return {
        "number": k,
        "params": {"knn.k": k},
        "value": value,
        "ci95": None,
        "scores": [value],
        "state": "complete",
        "reason": None,
        "cells": [],
        "commands": [],
        "made": 0,
        "online": {},
        "seconds": 1.0,
        "worker": None,
    }


def bars(*values: float) -> tuple[str, list[int], list[bool]]:
    """The heading, the length of each bar, and which lines say "best"."""
    head, *lines = plot([trial(v, k) for k, v in enumerate(values)], "knn.k", "top1")
    return head, [line.count("█") for line in lines], ["best" in line for line in lines]


def test_bars_begin_a_quarter_of_the_range_below_the_lowest_mean() -> None:
    head, lengths, best = bars(20.0, 60.0, 40.0)
    assert head.endswith("bars from 10.00 to 60.00")
    assert lengths == [round(BAR * 10 / 50), BAR, round(BAR * 30 / 50)]
    assert best == [False, True, False]


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
