"""Over which columns a board is ranked."""

from __future__ import annotations

import itertools
import random

import pytest

from bench.results.views.fullest import choose_columns


def area(rows: list[set[str]], chosen: tuple[str, ...] | list[str]) -> tuple[int, int]:
    count = sum(set(chosen) <= row for row in rows)
    return count * len(chosen), count


@pytest.mark.parametrize("seed", range(40))
def test_no_other_choice_of_columns_is_fuller(seed: int) -> None:
    rng, columns = random.Random(seed), list("abcdef")
    rows = [{c for c in columns if rng.random() < rng.choice((0.4, 0.9))} for _ in range(12)]
    chosen = choose_columns(rows, columns)
    every = [c for n in range(1, 7) for c in itertools.combinations(columns, n)]
    assert area(rows, chosen) == max(area(rows, c) for c in every)
    assert chosen == sorted(chosen)


def test_one_result_of_a_new_task_changes_nothing() -> None:
    rows = [{"knn", "svm"} for _ in range(5)]
    assert choose_columns([*rows, {"knn", "svm", "new"}], ["new", "knn", "svm"]) == ["knn", "svm"]


def test_equally_full_choices_rank_more_rows() -> None:
    assert choose_columns([{"knn"}, {"knn", "svm"}], ["knn", "svm"]) == ["knn"]


def test_without_results_all_columns_count() -> None:
    assert choose_columns([set(), set()], ["knn", "svm"]) == ["knn", "svm"]
    assert choose_columns([], []) == []


def test_hundreds_of_ragged_rows_take_no_time() -> None:
    rng, columns = random.Random(0), [f"c{i}" for i in range(34)]
    rows = [{c for c in columns if rng.random() < 0.6} for _ in range(300)]
    assert choose_columns(rows, columns)
