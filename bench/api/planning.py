"""What a run would make or reuse, without running anything."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from bench.api.request import Names, Request, Seeds, join_names, join_seeds, join_settings
from bench.core.stage import walk

if TYPE_CHECKING:
    import pandas as pd

    from bench.core.stage import Stage
    from bench.core.store import Store
    from bench.plan.cell import Plan, PlannedCell


@dataclass(frozen=True)
class ForecastStage:
    """A stage of a plan: whether it is in the store, and the seconds that like stages took there
    (None where there was none). state: `no data` where it is made from a data set that is not on
    this machine, so that its key is not known yet."""

    stage: Stage
    state: Literal["done", "missing", "no data"]
    seconds: float | None

    @property
    def key(self) -> str | None:
        """The stage's key; None where it is not known yet."""
        return None if self.state == "no data" else self.stage.key


@dataclass(frozen=True)
class Forecast:
    """A validated plan beside what the store holds. absent: how to get the data sets that are not
    on this machine, by name. remarks: what was seen in checkpoints."""

    plan: Plan
    store: Store
    absent: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @cached_property
    def stages(self) -> list[ForecastStage]:
        """Every stage once, inputs before what needs them."""
        from bench.plan.estimate import estimate

        seconds = estimate(self.store, self.plan.stages)
        return [ForecastStage(s, self._state(s), seconds[s.key]) for s in self.plan.stages]

    def _state(self, stage: Stage) -> Literal["done", "missing", "no data"]:
        if any(each.kind == "data" and "absent" in each.params for each in walk(stage)):
            return "no data"
        return "done" if self.store.has(stage) else "missing"

    @property
    def cells(self) -> list[PlannedCell]:
        """Every cell; one that cannot work says why in `unsupported`."""
        return self.plan.cells

    @property
    def missing(self) -> list[ForecastStage]:
        """The stages that would have to be made."""
        return [s for s in self.stages if s.state != "done"]

    @property
    def seconds(self) -> float:
        """The sum of the estimates of the missing stages that have one."""
        return sum(s.seconds for s in self.missing if s.seconds is not None)

    def to_frame(self) -> pd.DataFrame:
        """A row for each stage: state, key, kind, name, seconds."""
        import pandas as pd

        rows = [(s.state, s.key, s.stage.kind, s.stage.name, s.seconds) for s in self.stages]
        return pd.DataFrame(rows, columns=["state", "key", "kind", "name", "seconds"])

    def __repr__(self) -> str:
        return (
            f"<Forecast: {len(self.cells)} cells, {len(self.stages)} stages, "
            f"{len(self.missing)} to make>"
        )

    def _repr_html_(self) -> str:
        frame = self.to_frame()
        frame["key"] = frame["key"].str[:12]
        table = frame.to_html(index=False, na_rep="")
        return f"<p>{html.escape(repr(self)[1:-1])}</p>{table}"


def plan(
    method: Names | None = None,
    crop: Names | None = None,
    task: Names = "",
    *,
    data: str | None = None,
    task_data: str | None = None,
    scale: str = "tiny",
    seeds: Seeds = 0,
    set: Mapping[str, Any] | None = None,
    backbone: str | None = None,
    precision: str | None = None,
    engine: str | None = None,
) -> Forecast:
    """The stages that `bench.run` with the same arguments would make or reuse. Nothing is run.

    Data sets that are not on this machine are no error: `absent` says how to get them, and the
    stages made from them have the state "no data".

    Raises BadInput or BadData for a name or a value that breaks a rule.

    Examples:
        >>> forecast = bench.plan(method="byol,orl", task="knn")
        >>> sorted({s.stage.kind for s in forecast.stages})
        ['data', 'evaluate', 'features', 'neighbours', 'pairs', 'pretrain', 'proposals']
    """
    request = Request(
        join_names(method),
        join_names(crop),
        join_names(task) or "",
        scale,
        join_seeds(seeds),
        data,
        task_data,
        join_settings(set),
        backbone,
        precision,
        engine,
    )
    return forecast(request)


def forecast(request: Request) -> Forecast:
    """The plan of a request beside the store of this process."""
    from bench.core.store import Store
    from bench.launch.session import open_runtime

    runtime = open_runtime()
    absent: dict[str, str] = {}
    plan = request.plan(runtime, absent)
    return Forecast(plan, Store(runtime.home), absent, tuple(runtime.remarks.values()))
