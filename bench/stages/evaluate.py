"""The evaluate stage: a task turns a backbone into metrics."""

from __future__ import annotations

import math
from typing import cast

from bench.contracts import registry
from bench.contracts.context import StageContext
from bench.contracts.task import Task
from bench.core.errors import StageFailed
from bench.core.files import write_json


def run(ctx: StageContext) -> None:
    """Run the task; leaves `metrics.json` ({name: finite number}) in the stage's folder."""
    identity = ctx.params["task"]
    task = cast(
        Task, registry.load("task", identity["name"]).from_identity(dict(identity["params"]))
    )
    metrics = {name: float(value) for name, value in task.run(ctx).items()}
    bad = [name for name, value in metrics.items() if not math.isfinite(value)]
    if bad or task.headline not in metrics:
        raise StageFailed(
            f"{task.name} must return finite metrics and {task.headline!r}; "
            f"not finite: {bad or 'none'}, returned: {sorted(metrics)}"
        )
    write_json(ctx.work / "metrics.json", metrics)
