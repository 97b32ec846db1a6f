"""Progress as lines on stderr, for logs and pipes."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from bench.core.progress import Advance, Progress
from bench.core.redact import redact

LINE_SECONDS = 15.0


class LineProgress(Progress):
    """For logs: a line at the start, at the end, and every `LINE_SECONDS`."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def task(self, label: str, total: int, done: int = 0) -> Advance:
        start = last = time.monotonic()
        first = count = done

        def advance(n: int = 1, **figures: float | str) -> None:
            nonlocal count, last
            count += n
            now = time.monotonic()
            if count < total and now - last < LINE_SECONDS:
                return
            last = now
            left = (now - start) / max(count - first, 1) * (total - count)
            self.note(
                f"{label}: {count}/{total}, {now - start:.0f} s, {left:.0f} s left "
                f"{format_figures(figures)}"
            )

        return advance

    def note(self, text: str) -> None:
        print(redact(text.rstrip()), file=sys.stderr, flush=True)


def format_figures(figures: dict[str, float | str]) -> str:
    """`loss 2.31 images_s 120`: names and values, three digits of a number."""
    return " ".join(
        f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in figures.items()
    )
