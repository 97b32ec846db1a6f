"""The Task contract: a backbone becomes metrics by a published protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from bench.component import Component
from bench.errors import BadInput
from bench.params import Params, param

if TYPE_CHECKING:
    from bench.cell import Planner
    from bench.engine.context import StageContext
    from bench.stage import Stage


class TaskParams(Params):
    """What every task has."""

    holdout: float = param(
        0.0, ge=0, le=0.5, later=True, help="validation: score on this share of the training images and "
        "train on the others (bench.data.holdout); 0: score on the test images",
    )  # fmt: skip


class Task(Component):
    """A downstream task (`tasks/`).

    `headline` is the metric a leaderboard sorts by; `metrics` name -> description with unit. Values are
    fractions or percent as stated; COCO's are percent (x100). `engine` (params) enters the key.
    """

    kind: ClassVar[str] = "task"
    Params: ClassVar[type[Params]] = TaskParams
    headline: ClassVar[str]
    metrics: ClassVar[dict[str, str]] = {}
    data: ClassVar[dict[str, str]] = {}  # scale -> default data name; "" is the fallback

    def stages(self, plan: Planner, backbone: Stage, data: Stage) -> dict[str, Stage]:
        """Input stages of the evaluate stage, by role; "backbone" and "data" at least."""
        return {"backbone": backbone, "data": data}

    def supports(self, backbone: str) -> str | None:
        """None, or why a backbone of that name cannot be judged by this task."""
        return None

    @classmethod
    def pick_engine(cls, name: str) -> str | None:
        """The engine (a value of the setting `engine`) that `--engine` names; "auto": the best one installed.
        None where the task has no engines and "auto" asks for none; BadInput where it cannot be."""
        if name == "auto":
            return None
        raise BadInput(f"task {cls.name!r} has no detector engine; try: without --engine, or --engine auto")

    def run(self, ctx: StageContext) -> dict[str, float]:
        """Evaluate `ctx.inputs["backbone"] / "backbone.pth"`; returns finite metrics by name."""
        raise NotImplementedError
