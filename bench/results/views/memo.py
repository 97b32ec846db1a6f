"""What was computed from lists of values, kept until one of the values changes: after a write most
columns of a board hold what they held before."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


class Memo:
    """The last answer to each question, with the values that it was computed from.

    Values that are the same objects as before are compared by identity, so that 20,000 of them
    cost less than a millisecond; they must not be changed afterwards. Not for several threads at
    once.
    """

    def __init__(self) -> None:
        self._answers: dict[Hashable, tuple[list[Any], Any]] = {}
        self._asked: set[Hashable] = set()

    def get(self, question: Hashable, values: Sequence[Any], compute: Callable[[], T]) -> T:
        """The answer to a question about these values; computed where they differ from those of
        the last time."""
        self._asked.add(question)
        given = list(values)
        known = self._answers.get(question)
        if known is None or known[0] != given:
            known = self._answers[question] = (given, compute())
        answer: T = known[1]
        return answer

    def forget_unasked(self) -> None:
        """Drop the answers that nobody has asked for since the last call."""
        self._answers = {q: a for q, a in self._answers.items() if q in self._asked}
        self._asked = set()
