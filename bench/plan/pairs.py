"""Which methods go with which crops and tasks, and why others do not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from bench.contracts import registry
from bench.plan.planner import pair_reason, task_reason

if TYPE_CHECKING:
    from bench.contracts.component import Component
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
    methods, reasons = registry.load_all("method")
    learners = {name: cast("Method", cls.resolve(scale)) for name, cls in methods.items()}
    others, unusable = registry.load_all(kind)
    pairs = []
    for other in registry.names(kind):
        component = others[other].resolve(scale) if other in others else None
        for name in registry.names("method"):
            reason = unusable.get(other) or reasons.get(name)
            if component and name in learners:
                reason = _find_reason(learners[name], component)
            pairs.append(Pair(name, other, reason))
    return pairs


def _find_reason(method: Method, other: Component) -> str | None:
    if other.kind == "crop":
        return pair_reason(method, cast("Crop", other))
    return task_reason(method.params.backbone, cast("Task", other))
