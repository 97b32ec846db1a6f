"""A Cell is one frozen combination; a Plan is several cells and the stages they need."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bench.core.stage import Stage, walk

Places = tuple[tuple[str, str], ...]  # (data set, its folder) of those given by path
WEIGHTS = "weights"  # in `Cell.names`
# Owners of settings: the set that is pretrained on, and the one that the task trains and scores
# on. `Cell.names` and places say TASK_DATA too, where both are sets of one kind.
PRETRAIN_DATA, TASK_DATA = "pretrain_data", "task_data"


def is_path(weights: str) -> bool:
    """Whether weights are named by their path alone, which is absolute."""
    return Path(weights).is_absolute()


@dataclass(frozen=True)
class Cell:
    """method x crop x pretraining data x task x task data x scale x seed, and overrides.

    With `weights`, the path of a checkpoint made elsewhere, `timm:NAME` or `NAME=PATH`, nothing is
    pretrained: method, crop and data are labels. `names`: what the user calls a data set, or the
    weights, where results are shown; it enters no key.
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
    names: tuple[tuple[str, str], ...] = ()

    @property
    def pretrain_name(self) -> str:
        """What the user calls the data that is pretrained on, or ""."""
        return dict(self.names).get(self.data, "")

    @property
    def task_name(self) -> str:
        """What the user calls the data of the task, or ""."""
        names = dict(self.names)
        return names.get(TASK_DATA, names.get(self.task_data, ""))

    def command(self, places: Places = ()) -> str:
        """The command line that makes this cell, to be pasted into a shell. places: the folders
        of the data sets that were given by path."""
        kinds = {TASK_DATA: self.task_data}
        at = {name: f"{kinds.get(name, name)}={path}" for name, path in places}
        for name, shown in self.names:
            if not shown:
                continue
            at[name] = f"{at.get(name, kinds.get(name, name))},name={shown}"
        words = ["bench", "run"]
        if self.weights:
            named = at.get(WEIGHTS, WEIGHTS).removeprefix(WEIGHTS)
            given = f"{WEIGHTS}={self.weights}" if is_path(self.weights) else self.weights
            words += ["--backbone", given + named]
        else:
            words += ["--method", self.method, "--crop", self.crop]
        words += ["--task", self.task, "--scale", self.scale, "--seeds", str(self.seed)]
        if not self.weights:
            words += ["--data", at.get(self.data, self.data)]
        words += ["--task-data", at.get(TASK_DATA, at.get(self.task_data, self.task_data))]
        for key, value in self.overrides:
            words += ["--set", f"{key}={value}"]
        return shlex.join(words)


@dataclass
class PlannedCell:
    """A cell with its final stage, or the reason why it has none; `places` are the folders of its
    data that were given by path."""

    cell: Cell
    final: Stage | None
    engine: str = ""
    unsupported: str | None = None
    places: Places = ()

    def command(self) -> str:
        """The command line that makes the cell from the same folders."""
        return self.cell.command(self.places)


@dataclass
class Plan:
    """Cells and the stages they need, inputs first, each key once."""

    cells: list[PlannedCell]

    @cached_property
    def stages(self) -> list[Stage]:
        return list(walk(*(c.final for c in self.cells if c.final)))
