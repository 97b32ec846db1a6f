"""Which methods go with which crops and tasks, and why others do not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from bench.contracts import registry
from bench.plan.planner import pair_reason, task_reason

if TYPE_CHECKING:
    from bench.contracts.crop import Crop
    from bench.contracts.method import Method
    from bench.contracts.task import Task


@dataclass(frozen=True)
class Pair:
    """A method and a crop or task (`other`), and the reason why they do not go together if they
    do not."""

    method: str
    other: str
    reason: str | None

    @property
    def supported(self) -> bool:
        return self.reason is None


def list_pairs(kind: str, scale: str) -> list[Pair]:
    """Every method with every component of `kind` ("crop" or "task") at a scale."""
    methods = {
        name: cast("Method", registry.load("method", name).resolve(scale))
        for name in registry.names("method")
    }
    pairs = []
    for other in registry.names(kind):
        component = registry.load(kind, other).resolve(scale)
        for name, method in methods.items():
            if kind == "crop":
                reason = pair_reason(method, cast("Crop", component))
            else:
                reason = task_reason(method.params.backbone, cast("Task", component))
            pairs.append(Pair(name, other, reason))
    return pairs
