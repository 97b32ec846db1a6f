"""How long the steps of planning take, and how much memory."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from typing import TypedDict, TypeVar

T = TypeVar("T")


class Step(TypedDict):
    """A step: its wall seconds, and the most memory that this process had held after it."""

    step: str
    seconds: float
    megabytes: float


class Steps:
    """Times steps one after another."""

    def __init__(self) -> None:
        self.rows: list[Step] = []

    def time(self, name: str, action: Callable[[], T]) -> T:
        """What `action()` returns; its row is added to `rows`."""
        start = time.perf_counter()
        result = action()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        # bytes on macOS, else KiB
        megabytes = peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)
        seconds = time.perf_counter() - start
        self.rows.append({"step": name, "seconds": seconds, "megabytes": megabytes})
        return result
