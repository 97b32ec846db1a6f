"""How sure differences between finished evaluations are, from resampled test images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, cast

import numpy as np

from bench.contracts import registry
from bench.contracts.context import StageContext
from bench.contracts.task import Scored, Task
from bench.contracts.titles import title_of
from bench.core.errors import BadData, BadInput
from bench.core.records import read_metrics
from bench.data.annotations import annotations_stage
from bench.launch.stored import Selection

if TYPE_CHECKING:
    from bench.core.stage import Stage

LEVEL = 0.95
# Below so many test images the interval is too narrow: at 60 it held the true difference in 92 to
# 93 % of simulated comparisons instead of 95 (docs/design/results.md).
ENOUGH = 100


@dataclass(frozen=True)
class Finished:
    """An evaluation of the store, and what its metrics are when its images are counted
    differently."""

    stage: Stage
    headline: str
    scored: Scored

    @property
    def label(self) -> str:
        """`supervised × gt 1a2b3c4d5e6f`."""
        backbone = self.stage.inputs.get("backbone")
        return f"{title_of(backbone)} {self.stage.short}" if backbone else self.stage.short


def load_finished(ask: Selection, stage: Stage) -> Finished:
    """A finished evaluation; BadInput where its task cannot be scored again, BadData where it does
    not give the recorded metrics again."""
    data = stage.inputs.get("data")
    if data is None:
        raise BadInput(
            f"the data of {stage} is not in the store any more; run its command: bench show "
            f"{stage.short}"
        )
    whole = data.inputs.get("data", data)  # of a validation part
    whole_now = ask.data_stage(whole)
    if whole_now.key != whole.key:
        raise BadInput(
            f"{stage} was scored on other data; try: without --data, or --data {whole.name}=PATH"
        )
    runtime, store = ask.engine.runtime, ask.engine.store
    runtime.roots[data.key] = runtime.roots[whole_now.key]
    folder = store.folder(stage)
    inputs = {role: store.folder(child) for role, child in stage.inputs.items()}
    if key := ask.records[stage.key]["inputs"].get("annotations"):
        inputs["annotations"] = _make_annotations(ask, stage, data, key)
    identity = stage.params["task"]
    task = cast(
        Task, registry.load("task", identity["name"]).from_identity(dict(identity["params"]))
    )
    scored = task.rescore(StageContext(stage, folder, inputs, runtime, ask.engine.progress))
    _check(stage, scored, read_metrics(folder))
    return Finished(stage, task.headline, scored)


def _make_annotations(ask: Selection, stage: Stage, data: Stage, key: str) -> Path:
    """The folder of what was scored against, which bench gc may have deleted since."""
    written = annotations_stage(data, "val")
    if written is None or written.key != key:
        raise BadInput(
            f"{stage} was scored against annotations that are kept no longer in that way; run its "
            f"command again: bench show {stage.short}"
        )
    return ask.engine.ensure(written)


def _check(stage: Stage, scored: Scored, recorded: dict[str, float]) -> None:
    """Counted once each, the images give what was recorded."""
    ones = np.ones(len(scored.ids), np.int64)
    for name, metric in scored.metrics.items():
        if name in recorded and abs(metric(ones) - recorded[name]) > 1e-6 * max(
            1.0, abs(recorded[name])
        ):
            raise BadData(
                f"{stage}: {name} is {metric(ones):.6g} now, but {recorded[name]:.6g} was "
                "recorded; "
                "code or files have changed; run its command with --force: bench show "
                f"{stage.short}"
            )


def comparable(stages: Sequence[Stage]) -> None:
    """BadInput unless all are different evaluations by one task on the same data."""
    first, *others = stages
    for other in others:
        if other.key == first.key:
            raise BadInput(f"{first} is named twice; name two different results")
        pairs = {"tasks": (first.name, other.name)}
        if "data" in first.inputs and "data" in other.inputs:
            pairs["data"] = (first.inputs["data"].key, other.inputs["data"].key)
        for what, (a, b) in pairs.items():
            if a != b:
                raise BadInput(
                    f"{first} and {other} cannot be compared: their {what} differ; "
                    "try: bench leaderboard, which has one table for each"
                )


def differing(one: Finished, other: Finished) -> list[str]:
    """The task's settings that two evaluations do not share: `lr .02 and .05`."""
    a, b = (dict(m.stage.params["task"]["params"]) for m in (one, other))
    return [f"{k} {a.get(k)} and {b.get(k)}" for k in sorted({*a, *b}) if a.get(k) != b.get(k)]


class Difference(TypedDict):
    """A metric of another result minus that of the first, and the ends of its 95 % interval."""

    metric: str
    key: str
    first: float
    other: float
    difference: float
    low: float
    high: float


def differences(
    members: Sequence[Finished],
    names: Sequence[str],
    resamples: int,
    seed: int,
    advance: Callable[[], None] = lambda: None,
) -> list[Difference]:
    """The difference from the first member, for each metric and each other member.

    low and high are the 2.5 and 97.5 percentiles of `other - first` over `resamples` draws of as
    many images as there are, with replacement, the same for all members (Efron and Tibshirani
    1993, section 13.3). BadInput where a task's settings made two members score different images.
    """
    first, *others = members
    for other in others:
        if not np.array_equal(first.scored.ids, other.scored.ids):
            raise BadInput(
                f"{first.stage} and {other.stage} cannot be compared: they scored different "
                "images; try: bench show KEY, for each one's settings"
            )
    images = len(first.scored.ids)
    rng = np.random.default_rng(seed)
    values = np.empty((resamples + 1, len(names), len(members)))
    for i in range(resamples + 1):
        drawn = rng.integers(images, size=images) if i else np.arange(images)
        counts = np.bincount(drawn, minlength=images)
        values[i] = [[m.scored.metrics[name](counts) for m in members] for name in names]
        advance()
    rows: list[Difference] = []
    for n, name in enumerate(names):
        for m, member in enumerate(members[1:], 1):
            gain = values[:, n, m] - values[:, n, 0]
            low, high = np.quantile(gain[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
            rows.append(
                {
                    "metric": name,
                    "key": member.stage.key,
                    "first": float(values[0, n, 0]),
                    "other": float(values[0, n, m]),
                    "difference": float(gain[0]),
                    "low": float(low),
                    "high": float(high),
                }
            )
    return rows
