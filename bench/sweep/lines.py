"""What a sweep says in a log while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from bench.results.views.studies import TrialRow, find_best
from bench.results.views.trials import describe_end, format_params, format_score
from bench.sweep.setup import MANY

if TYPE_CHECKING:
    from bench.sweep.study import Sweep

LINE_SECONDS = 15.0  # between lines about what runs
ENDED = ("complete", "pruned", "fail")  # states of a trial


class TrialLines:
    """Lines about a running sweep, for logs: one for every trial that ends, and from time to time
    how far the sweep is, what runs, the best so far and the time left. `note` takes them."""

    def __init__(self, sweep: Sweep, note: Callable[[str], None], parallel: int) -> None:
        self.note, self.parallel = note, parallel
        self.trials = sweep.setup.trials if sweep.setup.trials < MANY else 0
        self.shown: set[int] = set()
        self.start = self.last = time.monotonic()

    def __call__(self, rows: list[TrialRow], doing: dict[str, str]) -> None:
        for row in rows:
            text = describe_end(row)
            if text and row["number"] not in self.shown:
                self.shown.add(row["number"])
                self.note(text)
        now = time.monotonic()
        if doing and now - self.last >= LINE_SECONDS:
            self.last = now
            self.note(self._describe(rows, doing, now - self.start))

    def _describe(self, rows: list[TrialRow], doing: dict[str, str], seconds: float) -> str:
        """`2 of 5 trials, 60 s, about 90 s left; best so far k=3: 12.3; now: pretrain ...`."""
        ended = [r for r in rows if r["state"] in ENDED]
        total = max(len(rows), self.trials)
        times = [r["seconds"] for r in ended if r["seconds"]]
        each = sum(times) / len(times) if times else None
        left = f", about {each * (total - len(ended)) / self.parallel:.0f} s left" if each else ""
        parts = [f"{len(ended)} of {total} trials, {seconds:.0f} s{left}"]
        if best := find_best(rows):
            parts.append(
                f"best so far {format_params(best['params'])}: "
                f"{format_score(best['value'], best['ci95'])}"
            )
        parts += [f"now: {line}" for line in doing.values() if line]
        return "; ".join(parts)
