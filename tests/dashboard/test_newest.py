"""The newest answers alone."""

from __future__ import annotations

import threading
import time

import pytest

from dashboard.newest import Newest


def test_an_answer_is_computed_once_for_each_mark_and_the_old_one_is_gone() -> None:
    newest, asked = Newest(4), []

    def compute() -> object:
        asked.append(1)
        return object()

    first = newest.get("a", 1, compute)
    assert newest.get("a", 1, compute) is first
    assert newest.get("b", 1, compute) is not first
    second = newest.get("a", 2, compute)
    assert second is not first
    assert len(asked) == 3
    assert newest.get("a", 1, compute) is not first  # it was not kept
    assert len(newest) == 2


def test_the_longest_unused_question_goes() -> None:
    newest = Newest(2)
    a = newest.get("a", 1, object)
    newest.get("b", 1, object)
    assert newest.get("a", 1, object) is a
    newest.get("c", 1, object)
    assert newest.get("a", 1, object) is a
    assert len(newest) == 2


def test_an_error_is_not_kept() -> None:
    newest = Newest(2)
    with pytest.raises(ZeroDivisionError):
        newest.get("a", 1, lambda: 1 // 0)
    assert newest.get("a", 1, lambda: 5) == 5


def test_sessions_that_ask_the_same_wait_for_one_answer() -> None:
    newest, asked = Newest(2), []

    def compute() -> int:
        asked.append(1)
        time.sleep(0.05)
        return 7

    given: list[int] = []
    threads = [
        threading.Thread(target=lambda: given.append(newest.get("a", 1, compute)))
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert given == [7] * 20
    assert len(asked) == 1
