"""The Task contract: a backbone becomes metrics by a published protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.contracts.component import Component
from bench.core.errors import BadInput
from bench.core.params import Params, param

if TYPE_CHECKING:
    import numpy as np

    from bench.contracts.context import StageContext
    from bench.contracts.planner import Planner
    from bench.core.stage import Stage


# A metric with the value 1 that the evaluate stage adds to those of a network whose features are
# the same for all or most images.
DEAD = "dead"
DEAD_TEXT = (
    "the network's features are the same for all or most images, so its numbers mean nothing"
)


class TaskParams(Params):
    """What every task has."""

    holdout: float = param(
        0.0,
        ge=0,
        le=0.5,
        later=True,
        help="validation: score on this share of the training images and "
        "train on the others (bench.data.holdout); 0: score on the test images",
    )


@dataclass(frozen=True)
class Scored:
    """A finished evaluation that can be scored again with its images counted differently.

    ids: (N,) int64, the images that were scored. metrics: some of the task's, each a function of
    counts (N,) int64 that returns what the task would on a test set with image i in it counts[i]
    times; of ones, what it returned.
    """

    ids: np.ndarray
    metrics: Mapping[str, Callable[[np.ndarray], float]]


class Task(Component):
    """A downstream task (`tasks/`).

    `headline` is the metric a leaderboard sorts by; `metrics` name -> description with unit.
    Values are fractions or percent as stated; COCO's are percent (x100). `engine` (params) enters
    the key.
    """

    kind = "task"
    Params = TaskParams
    headline: str
    metrics: dict[str, str] = {}
    data: dict[str, str] = {}  # scale -> default data name; "" is the fallback

    def stages(self, plan: Planner, backbone: Stage, data: Stage) -> dict[str, Stage]:
        """Input stages of the evaluate stage, by role; "backbone" and "data" at least."""
        return {"backbone": backbone, "data": data}

    def supports(self, backbone: str) -> str | None:
        """None, or why a backbone of that name cannot be judged by this task."""
        return None

    @classmethod
    def pick_engine(cls, name: str) -> str | None:
        """The engine (a value of the setting `engine`) that `--engine` names; "auto": the best one
        installed. None where the task has no engines and "auto" asks for none; BadInput where it
        cannot be."""
        if name == "auto":
            return None
        raise BadInput(
            f"task {cls.name!r} has no detector engine; try: without --engine, or --engine auto"
        )

    def run(self, ctx: StageContext) -> dict[str, float]:
        """Evaluate `ctx.inputs["backbone"] / "backbone.pth"`; returns finite metrics by name."""
        raise NotImplementedError

    def rescore(self, ctx: StageContext) -> Scored:
        """What `run` left in `ctx.work`, a committed folder, to be scored again; BadInput where
        the task keeps nothing for each image."""
        raise BadInput(
            f"{self.name} keeps nothing for each image that could be counted again; try several "
            "seeds, over which bench leaderboard has an interval: bench run --seeds 0-4 ..."
        )
