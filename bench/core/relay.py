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

Message = tuple[Any, ...]  # its kind, and what belongs to it
Send = Callable[..., None]  # send(kind, *rest)


class Sender:
    """send(kind, *rest) through a connection; it is no error if nobody reads it any more."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe

    def __call__(self, *message: Any) -> None:
        with suppress(OSError):
            self.pipe.send(message)


def read_messages(pipe: Connection) -> list[Message]:
    """The messages that have arrived so far."""
    arrived = []
    with suppress(EOFError, OSError):
        while pipe.poll():
            arrived.append(pipe.recv())
    return arrived


class Relay(Progress):
    """Sends what happens: ("task", number, label, total, done), ("advance", number, n, figures)
    and ("note", text)."""

    def __init__(self, send: Send) -> None:
        self.send = send
        self.count = 0

    def task(self, label: str, total: int, done: int = 0) -> Advance:
        self.count += 1
        self.send("task", self.count, label, total, done)
        return _Steps(self.send, self.count, total - done)

    def note(self, text: str) -> None:
        self.send("note", text)


class _Steps:
    """The `advance` of one bar, whose steps are gathered into few messages."""

    def __init__(self, send: Send, number: int, left: int) -> None:
        self.send, self.number, self.left = send, number, left
        self.n, self.figures, self.sent_at = 0, dict[str, Any](), time.monotonic()

    def __call__(self, n: int = 1, **figures: Any) -> None:
        self.n += n
        self.left -= n
        self.figures |= figures
        if self.left > 0 and time.monotonic() - self.sent_at < SECONDS:
            return
        self.send("advance", self.number, self.n, self.figures)
        self.n, self.figures, self.sent_at = 0, {}, time.monotonic()


class Replay:
    """Shows what one `Relay` sends, each of its labels followed by `mark`."""

    def __init__(self, progress: Progress, mark: str = "") -> None:
        self.progress, self.mark = progress, mark
        self.bars: dict[int, Advance] = {}

    def show(self, kind: str, *rest: Any) -> bool:
        """Show a message; False, and nothing is shown, where its kind is none of progress."""
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
