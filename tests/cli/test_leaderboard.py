"""How sure the leaderboard in a terminal is."""

from __future__ import annotations

import pytest

from bench.cli.leaderboard import print_rows
from bench.core.statistics import summarise
from bench.results.db.records import LeaderboardRow


def row(method: str, *values: float, dead: bool = False) -> LeaderboardRow:
    scores = dict(enumerate(values))
    return {
        "method": method,
        "crop": "image",
        "task": "knn",
        "scale": "tiny",
        "pretrain_data": "scenes",
        "task_data": "scenes",
        "engine": "",
        "pretrain_data_key": "a" * 64,
        "task_data_key": "a" * 64,
        "pretrain_name": "",
        "task_name": "",
        "group": method,
        "pretraining": method,
        "dead": dead,
        "seeds": list(scores),
        "metrics": {"top1": summarise(list(values))},
        "scores": {"top1": scores},
        "headline": "top1",
        "overrides": {},
        "source": "measured",
        "cells": [f"{method}{seed}" for seed in scores],
    }


def printed(capsys: pytest.CaptureFixture[str], *rows: LeaderboardRow) -> tuple[list[str], str]:
    """The lines of the rows, and what stands below them."""
    print_rows(list(rows))
    lines = capsys.readouterr().out.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(rows[0]["method"]))
    return lines[start : start + len(rows)], " ".join(lines[start + len(rows) :])


def test_the_best_what_ties_with_it_and_one_seed_have_signs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines, below = printed(
        capsys,
        row("mae", 99.0),
        row("soco", 50.0, 50.4, 50.1),
        row("byol", 50.0, 50.2, 50.1),
        row("orl", 40.0, 40.2, 40.1),
    )
    assert [line.split()[-1] for line in lines] == ["?", "*", "≈", "<"]
    assert len({len(line) for line in lines}) == 1  # digits stand below digits
    assert "≈ not distinguishable from the best (Tukey's test, 5 % over all rows" in below


def test_a_dead_network_is_neither_best_nor_told_from_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines, _ = printed(
        capsys,
        row("mae", 99.0, 99.1, 99.2, dead=True),
        row("orl", 60.0, 60.4, 60.1),
        row("byol", 50.0, 50.2, 50.1),
    )
    assert [line.split()[-1] for line in lines] == ["0.2", "*", "<"]


def test_with_one_seed_everywhere_it_says_that_nothing_is_known(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines, below = printed(capsys, row("orl", 70.0), row("byol", 50.0))
    assert [line.split()[-1] for line in lines] == ["70.0", "50.0"]
    assert "Which row is best is unknown: that takes two seeds or more" in below


def test_a_single_row_says_nothing_of_that(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, row("orl", 70.0, 71.0))[1] == ""
