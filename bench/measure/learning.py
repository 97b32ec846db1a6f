"""What trainings learned: their loss at the start and at the end, and a task's metrics beside an
untrained network's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypedDict

from bench.contracts import registry
from bench.core.records import read_metrics
from bench.stages.checkpoint import read_history

if TYPE_CHECKING:
    from pathlib import Path

    from bench.core.store import Store
    from bench.plan.cell import PlannedCell

ENDS = 0.05  # share of the history's rows that count as its start, and as its end


class Learned(TypedDict):
    """What a finished cell learned.

    `loss` and `std` (of the normalised outputs, 0 when collapsed) are [start, end]: means over the
    first and the last twentieth of the logged steps; None for what was not trained or not logged.
    """

    method: str
    crop: str
    task: str
    seed: int
    trained: bool
    steps: int
    seconds: float
    loss: list[float] | None
    std: list[float] | None
    metrics: dict[str, float]


def describe_cell(planned: PlannedCell, store: Store) -> Learned:
    """What a finished cell learned, from the files of its stages."""
    assert planned.final is not None
    backbone = planned.final.inputs["backbone"]
    folder = store.folder(backbone)
    history = read_history(folder / "history.jsonl")
    summary = _json(folder / "summary.json")
    method: Any = registry.load("method", planned.cell.method)
    task: Any = registry.load("task", planned.cell.task)
    scores = read_metrics(store.folder(planned.final))
    return {
        "method": planned.cell.method,
        "crop": planned.cell.crop,
        "task": planned.cell.task,
        "seed": planned.cell.seed,
        "trained": method.trains,
        "steps": summary["steps"],
        "seconds": summary["seconds"],
        "loss": ends(history, "loss"),
        "std": ends(history, "std"),
        "metrics": {n: scores[n] for n in task.metrics if n in scores},
    }


def ends(history: list[dict[str, float]], name: str) -> list[float] | None:
    """[start, end]: means of a logged figure over the first and the last twentieth of its rows."""
    values = [row[name] for row in history if name in row]
    if not values:
        return None
    count = max(1, round(ENDS * len(values)))
    return [sum(part) / count for part in (values[:count], values[-count:])]


def _json(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_text())
    return value
