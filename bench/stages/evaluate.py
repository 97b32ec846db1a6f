"""The evaluate stage: a task turns a backbone into metrics."""

from __future__ import annotations

import math
from typing import cast

from bench.contracts import registry
from bench.contracts.context import StageContext
from bench.contracts.task import DEAD, DEAD_TEXT, Task
from bench.core.errors import StageFailed
from bench.core.files import write_json


def run(ctx: StageContext) -> None:
    """Run the task; leaves `metrics.json` ({name: finite number}) in the stage's folder, with the
    metric `DEAD` where the network is dead."""
    from bench.stages.liveness import is_dead

    identity = ctx.params["task"]
    task = cast(
        Task, registry.load("task", identity["name"]).from_identity(dict(identity["params"]))
    )
    dead = is_dead(ctx, task)
    metrics = {name: float(value) for name, value in task.run(ctx).items()}
    bad = [name for name, value in metrics.items() if not math.isfinite(value)]
    if bad or task.headline not in metrics or DEAD in metrics:
        raise StageFailed(
            f"{task.name} must return finite metrics, {task.headline!r} and no {DEAD!r}; "
            f"not finite: {bad or 'none'}, returned: {sorted(metrics)}"
        )
    if dead:
        ctx.progress.note(f"{ctx.stage}: dead: {DEAD_TEXT}")
        metrics[DEAD] = 1.0
    write_json(ctx.work / "metrics.json", metrics)
