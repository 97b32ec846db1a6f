"""Progress of long work, shown to nobody unless a terminal or another process shows it."""

from __future__ import annotations

from collections.abc import Callable

Advance = Callable[..., None]


class Progress:
    """Silent progress; the terminal's version (`bench.api.progress`) overrides `task`."""

    def task(self, label: str, total: int, done: int = 0) -> Advance:
        """A bar of `total` steps, `done` of them already; returns advance(n=1, **figures)."""
        return lambda n=1, **figures: None

    def drop(self, advance: Advance) -> None:
        """Take the bar of `advance` away, finished or not."""

    def note(self, text: str) -> None:
        """A line for the user."""
