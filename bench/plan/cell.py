"""A Cell is one frozen combination; a Plan is several cells and the stages they need."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from shlex import quote

from bench.core.stage import Stage, walk


@dataclass(frozen=True)
class Cell:
    """method x crop x pretraining data x task x task data x scale x seed, and overrides.

    With `weights`, the path of a checkpoint made elsewhere, nothing is pretrained: method, crop
    and data are labels.
    """

    method: str
    crop: str
    task: str
    data: str
    task_data: str
    scale: str
    seed: int
    overrides: tuple[tuple[str, str], ...] = ()
    weights: str = ""

    def command(self) -> str:
        """The command line that makes this cell."""
        sets = "".join(f" --set {k}={v}" for k, v in self.overrides)
        if self.weights:
            return (
                f"bench run --backbone {quote(f'weights={self.weights}')} --task {self.task}"
                f" --scale {self.scale} --seeds {self.seed} --task-data {self.task_data}{sets}"
            )
        return (
            f"bench run --method {self.method} --crop {self.crop} --task {self.task}"
            f" --scale {self.scale} --seeds {self.seed} --data {self.data}"
            f" --task-data {self.task_data}{sets}"
        )


@dataclass
class PlannedCell:
    """A cell with its final stage, or the reason why it has none."""

    cell: Cell
    final: Stage | None
    engine: str = ""
    unsupported: str | None = None


@dataclass
class Plan:
    """Cells and the stages they need, inputs first, each key once."""

    cells: list[PlannedCell]

    @cached_property
    def stages(self) -> list[Stage]:
        return list(walk(*(c.final for c in self.cells if c.final)))
