"""Progress that is made in one process and shown in another."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from bench.core.progress import Advance, Progress

# at most one message of a bar in so long: a pipe holds 64 KiB, and its reader may be busy
SECONDS = 0.1

Say = Callable[..., None]


class Pipe:
    """say(kind, *rest) through a connection; one that nobody reads any more is no error."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe

    def __call__(self, *message: Any) -> None:
        with suppress(OSError):
            self.pipe.send(message)


def messages(pipe: Connection) -> list[tuple[Any, ...]]:
    """What has arrived so far."""
    received = []
    with suppress(EOFError, OSError):
        while pipe.poll():
            received.append(pipe.recv())
    return received


class Relay(Progress):
    """Says what happens: ("task", number, label, total, done), ("advance", number, n, figures) and
    ("note", text)."""

    def __init__(self, say: Say) -> None:
        self.say = say
        self.count = 0

    def task(self, label: str, total: int, done: int = 0) -> Advance:
        self.count += 1
        self.say("task", self.count, label, total, done)
        return _Steps(self.say, self.count, total - done)

    def note(self, text: str) -> None:
        self.say("note", text)


class _Steps:
    def __init__(self, say: Say, number: int, left: int) -> None:
        self.say, self.number, self.left = say, number, left
        self.n, self.figures, self.said = 0, dict[str, Any](), time.monotonic()

    def __call__(self, n: int = 1, **figures: Any) -> None:
        self.n += n
        self.left -= n
        self.figures |= figures
        if self.left > 0 and time.monotonic() - self.said < SECONDS:
            return
        self.say("advance", self.number, self.n, self.figures)
        self.n, self.figures, self.said = 0, {}, time.monotonic()


class Replay:
    """Shows what one `Relay` says, each of its labels followed by `mark`."""

    def __init__(self, progress: Progress, mark: str = "") -> None:
        self.progress, self.mark = progress, mark
        self.bars: dict[int, Advance] = {}

    def hear(self, kind: str, *rest: Any) -> bool:
        """Whether `kind` was of progress."""
        if kind == "task":
            number, label, total, done = rest
            self.bars[number] = self.progress.task(f"{label} {self.mark}".rstrip(), total, done)
        elif kind == "advance":
            number, n, figures = rest
            if number in self.bars:
                self.bars[number](n, **figures)
        elif kind == "note":
            self.progress.note(*rest)
        else:
            return False
        return True

    def end(self) -> None:
        """Take the bars away: what they are about is over."""
        for bar in self.bars.values():
            self.progress.drop(bar)
        self.bars.clear()
