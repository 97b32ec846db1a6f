"""A tracker whose trouble is noted once and never fails a run."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from bench.contracts.tracker import Tracker
from bench.core.redact import redact
from bench.launch.tracked import TrackedRun


class CarefulTracker(Tracker):
    """A tracker that opens its run at the first figure or picture, and is off from the first
    failure on.

    A stage that has nothing to show leaves no run.
    """

    def __init__(self, tracked: TrackedRun, note: Callable[[str], None] | None = None) -> None:
        self.tracked, self.note = tracked, note or (lambda text: None)
        self.run: Any = None
        self.broken = False

    @abstractmethod
    def start(self) -> Any:
        """Open the run."""

    def safely(self, action: Callable[[Any], None]) -> None:
        """Do it with the run, which is started if need be."""
        if self.broken:
            return
        try:
            if self.run is None:
                self.run = self.start()
            action(self.run)
        except Exception as error:  # a tracker never fails a run
            self.broken = True
            reason = redact(" ".join(str(error).split()))[:160]
            self.note(f"tracking is off for {self.tracked.name}: {type(error).__name__}: {reason}")
