"""What was computed from the results database, for all sessions: of each question the newest
answer alone, so that writes do not fill the memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass
class _Answer:
    mark: Hashable = None
    value: Any = None
    lock: Lock = field(default_factory=Lock)  # sessions that ask the same wait for one answer


class Newest:
    """Answers by question. A new mark, which says that something was written, makes an answer be
    computed again and replaces the old one; beyond `most` questions the longest unused goes."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._lock = Lock()
        self._answers: OrderedDict[Hashable, _Answer] = OrderedDict()

    def get(self, question: Hashable, mark: Hashable, compute: Callable[[], T]) -> T:
        """The answer at this mark; what `compute` raises is not kept."""
        with self._lock:
            answer = self._answers.setdefault(question, _Answer())
            self._answers.move_to_end(question)
            while len(self._answers) > self.most:
                self._answers.popitem(last=False)
        with answer.lock:
            if answer.mark != mark:
                answer.value = None  # not both the old and the new one at once
                answer.value, answer.mark = compute(), mark
            value: T = answer.value
            return value

    def __len__(self) -> int:
        return len(self._answers)
