"""A Planner turns a cell into stages; every cell is planned and validated before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from bench.contracts import registry
from bench.contracts.component import Component
from bench.core.errors import BadInput, Unsupported, nearest, unknown
from bench.core.params import Runtime
from bench.core.stage import Stage
from bench.plan.cell import Cell, Plan, PlannedCell

T = TypeVar("T")

STATS_VERSION = 1  # of the objectness statistics


@dataclass
class Shared:
    """What the planners of one plan make once between them; thousands of cells differ in the task
    only."""

    components: dict[tuple[Any, ...], Any] = field(default_factory=dict)
    identities: dict[Component, dict[str, Any]] = field(default_factory=dict)
    # data sets and weights, which are read
    files: dict[object, Stage] = field(default_factory=dict)
    # pretrainings, or why there is none, with the planner that made each
    pretrains: dict[tuple[Any, ...], tuple[Stage | str, Planner]] = field(default_factory=dict)


@dataclass
class Planner:
    """Builds the stages of one cell. Components call it to ask for further stages."""

    cell: Cell
    runtime: Runtime
    paths: Mapping[str, Path | None] = field(default_factory=dict)
    shared: Shared = field(default_factory=Shared)
    touched: dict[tuple[str, str], type[Component]] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    split: str = "train"  # of the data that proposals are made for
    # data that generators learn from, where it is not the data they work on
    learn_from: Stage | None = None

    def component(self, kind: str, name: str, main: bool = False) -> Any:
        """The component at the cell's scale, with the cell's overrides for it. `kind.field`
        addresses the cell's own component of that kind (`main`), `name.field` the component
        wherever it is used."""
        cls = registry.load(kind, name)
        self.touched[kind, name] = cls
        mine = self._overrides(kind, cls, main) if self.cell.overrides else {}
        marker = (kind, name, self.cell.scale, *mine.items())
        if marker not in self.shared.components:
            self.shared.components[marker] = cls.resolve(self.cell.scale, mine)
        return self.shared.components[marker]

    def _overrides(self, kind: str, cls: type[Component], main: bool) -> dict[str, Any]:
        """The cell's settings of a component, field -> value."""
        # a crop and its generator
        twins = sum(other == cls.name for _, other in registry.entries()) > 1
        mine = {}
        for key, value in self.cell.overrides:
            owner, _, setting = key.partition(".")
            by_name = owner == cls.name and not (twins and setting not in cls.Params.model_fields)
            if by_name or (owner == kind and (main or kind in ("proposals", "data"))):
                mine[setting] = value
                self.used.add(key)
        return mine

    def _identity(self, component: Component) -> dict[str, Any]:
        if component not in self.shared.identities:
            self.shared.identities[component] = component.identity()
        return self.shared.identities[component]

    def data(self, name: str) -> Stage:
        """The data stage of dataset `name` at this run's path."""
        component = self.component("data", name)
        if component not in self.shared.files:
            self.shared.files[component] = component.stage(self.paths.get(name), self.runtime)
        return self.shared.files[component]

    def proposals(self, name: str, data: Stage) -> Stage:
        """The proposals stage of generator `name` on this planner's split of `data`."""
        maker = self.component("proposals", name)
        return Stage(
            kind="proposals",
            name=name,
            version=maker.version,
            runner="bench.stages.proposals:run",
            params={"proposals": self._identity(maker), "split": self.split, "seed": 0},
            inputs={"data": data, **maker.stages(self, data)},
        )

    def pretrain(self, method: str, crop: str, data: Stage, main: bool = False) -> Stage:
        """The pretraining of `method` on `crop`; ORL's stage 1 is `pretrain("byol", "image",
        data)`."""
        learn_from = self.learn_from.key if self.learn_from else ""
        cell = (self.cell.scale, self.cell.seed, self.cell.overrides, self.split, learn_from)
        marker = (method, crop, data.key, main, *cell)
        if marker not in self.shared.pretrains:
            maker = replace(self, touched={}, used=set())
            self.shared.pretrains[marker] = maker._pretrain(method, crop, data, main), maker
        made, maker = self.shared.pretrains[marker]
        self.touched |= maker.touched
        self.used |= maker.used
        if isinstance(made, str):
            raise Unsupported(made)
        return made

    def _pretrain(self, method: str, crop: str, data: Stage, main: bool) -> Stage | str:
        """The stage, or why this pair has none."""
        learner = self.component("method", method, main)
        cropper = self.component("crop", crop, main)
        reason = pair_reason(learner, cropper)
        if reason:
            return reason
        try:
            inputs = {"data": data, **cropper.stages(self, data), **learner.stages(self, data)}
        except Unsupported as error:  # of a network that a generator asks for
            return str(error)
        return Stage(
            kind="pretrain",
            name=method,
            version=learner.version,
            runner="bench.stages.pretrain:run",
            params={
                "method": self._identity(learner),
                "crop": self._identity(cropper),
                "split": "train",
                "seed": self.cell.seed,
            },
            inputs=inputs,
        )

    def crop_stats(self, source: str, seeds: int) -> Stage:
        """The objectness statistics of the cell's crop on this planner's split of the cell's data."""
        cropper = self.component("crop", self.cell.crop, main=True)
        data = self.data(self.cell.data)
        return Stage(
            kind="crop_stats",
            name=self.cell.crop,
            version=STATS_VERSION,
            runner="bench.stages.crop_stats:run",
            params={
                "crop": self._identity(cropper),
                "split": self.split,
                "source": source,
                "seeds": seeds,
            },
            inputs={"data": data, **cropper.stages(self, data)},
        )

    def plan(self) -> PlannedCell:
        """The cell's stages; an impossible combination is an outcome, bad input an error."""
        task = self.component("task", self.cell.task, main=True)
        data = None if self.cell.weights else self.data(self.cell.data)
        task_data = self._task_data(task)
        engine = str(getattr(task.params, "engine", ""))
        try:
            backbone = self._backbone(data)
            reason = task_reason(backbone.params["method"]["params"]["backbone"], task)
            if reason:
                raise Unsupported(reason)
        except Unsupported as error:
            return PlannedCell(self._own(), None, engine, str(error))
        final = Stage(
            kind="evaluate",
            name=self.cell.task,
            version=task.version,
            runner="bench.stages.evaluate:run",
            params={"task": self._identity(task), "seed": self.cell.seed},
            inputs=task.stages(self, backbone, task_data),
        )
        return PlannedCell(self._own(), final, engine)

    def _own(self) -> Cell:
        """The cell without the settings that belong to other cells of the plan."""
        own = tuple((k, v) for k, v in self.cell.overrides if k in self.used)
        return replace(self.cell, overrides=own)

    def _task_data(self, task: Any) -> Stage:
        """What the task is trained and scored on: the set, or its training images in two parts."""
        whole = self.data(self.cell.task_data)
        share = getattr(task.params, "holdout", 0.0)
        if not share:
            return whole
        from bench.data.holdout import hold_out

        marker = ("holdout", whole.key, share)
        if marker not in self.shared.files:
            self.shared.files[marker] = hold_out(whole, share, self.runtime)
        return self.shared.files[marker]

    def _backbone(self, data: Stage | None) -> Stage:
        """What the task judges: a pretraining on `data`, or the file that the cell names."""
        if data is not None:
            return self.pretrain(self.cell.method, self.cell.crop, data, main=True)
        from bench.stages.weights import weights_stage

        marker = ("weights", self.cell.weights)
        if marker not in self.shared.files:
            self.shared.files[marker] = weights_stage(self.cell.weights, self.runtime)
        return self.shared.files[marker]


def pair_reason(method: Any, crop: Any) -> str | None:
    """None, or why the method cannot be paired with the crop: the one place that decides it."""
    reason: str | None = method.supports(type(crop))
    return reason


def task_reason(backbone: str, task: Any) -> str | None:
    """None, or why the task cannot judge a backbone of that name."""
    reason: str | None = task.supports(backbone)
    return reason


def make_plan(cells: Iterable[Cell], runtime: Runtime, paths: Mapping[str, Path | None]) -> Plan:
    """Plan and validate every cell before anything runs; unknown or ambiguous settings are errors."""
    return Plan(
        [made for _, made in plan_each(cells, runtime, paths, lambda planner: planner.plan())]
    )


def plan_each(
    cells: Iterable[Cell],
    runtime: Runtime,
    paths: Mapping[str, Path | None],
    make: Callable[[Planner], T],
    **settings: Any,
) -> list[tuple[Cell, T]]:
    """`make(planner)` for every cell, its bare settings given their owners; a setting that nothing
    of any cell has is an error. `settings` are further fields of the planners (`split`,
    `learn_from`)."""
    shared = Shared()
    made: list[tuple[Cell, T]] = []
    used: set[str] = set()
    touched: dict[tuple[str, str], type[Component]] = {}
    for given in cells:
        new = partial(_planner, runtime, paths, shared, settings)
        cell = _qualified(given, new, make)
        planner = new(cell)
        made.append((cell, make(planner)))
        used |= planner.used
        touched |= planner.touched
    for key in dict.fromkeys(k for cell, _ in made for k, _ in cell.overrides):
        if key not in used:
            raise _unused(key, touched)
    return made


def _planner(
    runtime: Runtime,
    paths: Mapping[str, Path | None],
    shared: Shared,
    settings: dict[str, Any],
    cell: Cell,
) -> Planner:
    return Planner(cell, runtime, paths, shared, **settings)


def _unused(key: str, touched: Mapping[tuple[str, str], type[Component]]) -> BadInput:
    owner, _, setting = key.partition(".")
    fields = {
        f for (_, name), cls in touched.items() if name == owner for f in cls.Params.model_fields
    }
    if fields:  # a crop and a generator of one name, neither of which has the setting
        return unknown(f"setting of {owner}", setting, fields, f"bench list params {owner}")
    return unknown("owner of a setting", owner, {name for _, name in touched}, "bench list params")


def _qualified(cell: Cell, new: Callable[[Cell], Planner], make: Callable[[Planner], Any]) -> Cell:
    """The cell with bare `field` overrides rewritten to `owner.field`."""
    bare = [key for key, _ in cell.overrides if "." not in key]
    if not bare:
        return cell
    dotted = tuple((k, v) for k, v in cell.overrides if "." in k)
    first = new(_with(cell, dotted))
    make(first)
    names = {key: _owner(key, first.touched) for key in bare}
    return _with(cell, tuple((names.get(k, k), v) for k, v in cell.overrides))


def _with(cell: Cell, overrides: tuple[tuple[str, str], ...]) -> Cell:
    return replace(cell, overrides=overrides)


def _owner(field_name: str, touched: Mapping[tuple[str, str], type[Component]]) -> str:
    owners = [n for (_, n), cls in touched.items() if field_name in cls.Params.model_fields]
    if len(owners) == 1:
        return f"{owners[0]}.{field_name}"
    if owners:
        choices = " or ".join(f"--set {n}.{field_name}=..." for n in owners)
        raise BadInput(
            f"setting {field_name!r} is ambiguous: {len(owners)} components have it; say {choices}"
        )
    every = {f for cls in touched.values() for f in cls.Params.model_fields}
    guess = nearest(field_name, every)
    hint = f" (did you mean {guess!r}?)" if guess else ""
    raise BadInput(
        f"no part of this cell has a setting {field_name!r}{hint}; try: bench list params"
    )
