"""Progress for people: bars in a terminal, a line now and then elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress

from bench.core.line_progress import LineProgress, format_figures
from bench.core.progress import Advance, Progress
from bench.core.redact import redact


class TerminalProgress(Progress):
    """Bars with stage names, figures and time left; use as a context manager."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        columns = (
            TextColumn("{task.description:<28}"),
            BarColumn(24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
        )
        self.bars = RichProgress(*columns, console=self.console)
        self.rows: dict[Advance, TaskID] = {}

    def __enter__(self) -> Self:
        self.bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bars.stop()

    def task(self, label: str, total: int, done: int = 0) -> Advance:
        bar = self.bars.add_task(label, total=total, completed=done, figures="")

        def advance(n: int = 1, **figures: float | str) -> None:
            self.bars.update(bar, advance=n, figures=format_figures(figures))

        self.rows[advance] = bar
        return advance

    def drop(self, advance: Advance) -> None:
        self.bars.remove_task(self.rows.pop(advance))

    def note(self, text: str) -> None:
        self.console.print(redact(text), markup=False, highlight=False)


def terminal_progress() -> TerminalProgress | LineProgress:
    """Bars where stderr is a terminal, else lines."""
    return TerminalProgress() if Console(stderr=True).is_terminal else LineProgress()
