"""What components may ask of whoever plans a cell (`bench.plan.planner`)."""

from __future__ import annotations

from typing import Protocol

from bench.core.params import Runtime
from bench.core.stage import Stage


class PlannedFor(Protocol):
    """The cell that is planned, as far as components need to know it."""

    @property
    def seed(self) -> int:
        """The base seed of the cell."""
        ...


class Planner(Protocol):
    """Builds the stages of one cell."""

    learn_from: Stage | None  # the data that generators learn from, if other than they work on

    @property
    def cell(self) -> PlannedFor:
        """The cell that is planned."""
        ...

    @property
    def runtime(self) -> Runtime:
        """How and where the cell will run."""
        ...

    def data(self, name: str) -> Stage:
        """The data stage of the dataset `name`."""
        ...

    def proposals(self, name: str, data: Stage) -> Stage:
        """The proposals of the generator `name` on `data`."""
        ...

    def pretrain(self, method: str, crop: str, data: Stage) -> Stage:
        """The pretraining of `method` on `crop`; Unsupported where they do not go together."""
        ...
