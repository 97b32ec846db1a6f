"""A Planner turns a cell into stages; every cell is planned and validated before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, overload

from bench.contracts import registry
from bench.contracts.component import Component
from bench.core.errors import Unsupported
from bench.core.params import Runtime
from bench.core.stage import Stage
from bench.plan.cell import PRETRAIN_DATA, TASK_DATA, Cell, Places, Plan, PlannedCell
from bench.plan.settings import Touched, name_owners, refuse_unused, settings_of

if TYPE_CHECKING:
    from bench.contracts.crop import Crop
    from bench.contracts.data import Data
    from bench.contracts.method import Method
    from bench.contracts.proposals import Proposals
    from bench.contracts.task import Task

T = TypeVar("T")
Absent = dict[str, str]  # data sets that are not on this machine: how to get them

STATS_VERSION = 2  # of the objectness statistics; 2: of every region, whatever an epoch draws


@dataclass
class Shared:
    """What the planners of one plan make once between them; thousands of cells differ in the task
    only."""

    components: dict[tuple[object, ...], Component] = field(default_factory=dict)
    identities: dict[Component, dict[str, Any]] = field(default_factory=dict)
    # data sets and weights, which are read
    files: dict[object, Stage] = field(default_factory=dict)
    # pretrainings, or why there is none, with the planner that made each
    pretrains: dict[tuple[object, ...], tuple[Stage | str, Planner]] = field(default_factory=dict)
    # filled with data sets whose place is not known; None: these are errors
    absent: Absent | None = None


@dataclass
class Planner:
    """Builds the stages of one cell. Components call it to ask for further stages.

    paths: the folder of a dataset by its name. touched: the components that were asked for. used:
    the settings of the cell that one of them took. split: of the data that proposals are made for.
    learn_from: the data that generators learn from, where it is not the data they work on.
    """

    cell: Cell
    runtime: Runtime
    paths: Mapping[str, Path | None] = field(default_factory=dict)
    shared: Shared = field(default_factory=Shared)
    touched: Touched = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    split: str = "train"
    learn_from: Stage | None = None

    @overload
    def component(self, kind: Literal["method"], name: str, main: bool = False) -> Method: ...
    @overload
    def component(self, kind: Literal["crop"], name: str, main: bool = False) -> Crop: ...
    @overload
    def component(self, kind: Literal["proposals"], name: str, main: bool = ...) -> Proposals: ...
    @overload
    def component(self, kind: Literal["task"], name: str, main: bool = False) -> Task: ...
    @overload
    def component(self, kind: Literal["data"], name: str, main: bool = False) -> Data: ...

    def component(self, kind: str, name: str, main: bool = False) -> Component:
        """The component at the cell's scale, with the cell's settings for it (`settings_of`);
        `main`: it is the cell's own of its kind."""
        return self._resolve(kind, name, main)

    def _resolve(self, kind: str, name: str, main: bool = False, role: str = "") -> Component:
        cls = registry.load(kind, name)
        self.touched[kind, name] = cls
        mine: dict[str, str] = {}
        for key, setting, value in settings_of(cls, self.cell.overrides, main, role):
            mine[setting] = value
            self.used.add(key)
        marker = (kind, name, self.cell.scale, *mine.items())
        if marker not in self.shared.components:
            self.shared.components[marker] = cls.resolve(self.cell.scale, mine)
        return self.shared.components[marker]

    def _identity(self, component: Component) -> dict[str, Any]:
        if component not in self.shared.identities:
            self.shared.identities[component] = component.identity()
        return self.shared.identities[component]

    def data(self, name: str, role: str = PRETRAIN_DATA) -> Stage:
        """The data stage of dataset `name` at this run's path; `role`: what the cell takes it
        for, PRETRAIN_DATA or TASK_DATA."""
        component = cast("Data", self._resolve("data", name, role=role))
        path = self.paths.get(role) or self.paths.get(name)
        marker = (component, path)
        if marker not in self.shared.files:
            self.shared.files[marker] = self._identify_data(component, path)
        return self.shared.files[marker]

    def _identify_data(self, data: Data, path: Path | None) -> Stage:
        from bench.data.contents import identify

        absent = self.shared.absent
        known = path or not data.how_to_get.files or _is_there(data.default_place())
        if absent is None or known or not data.needs_path:
            return identify(data, path, self.runtime)
        absent[data.name] = (
            f"get {data.how_to_get}; then: --data {data.name}=PATH, or set BENCH_DATA to the "
            f"folder that holds {data.folder or data.name}/"
        )
        return data.make_stage(Path(data.name), self.runtime, absent="true")

    def proposals(self, name: str, data: Stage) -> Stage:
        """The proposals stage of generator `name` on this planner's split of `data`."""
        maker = self.component("proposals", name)
        lack = find_lack(maker, data, "")
        if lack and self.learn_from is None:
            raise Unsupported(lack)
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
        stage, maker = self.shared.pretrains[marker]
        self.touched |= maker.touched
        self.used |= maker.used
        if isinstance(stage, str):
            raise Unsupported(stage)
        return stage

    def _pretrain(self, method: str, crop: str, data: Stage, main: bool) -> Stage | str:
        """The stage, or why this pair has none."""
        learner = self.component("method", method, main)
        cropper = self.component("crop", crop, main)
        reason = pair_reason(learner, cropper)
        for part in (cropper, learner):
            reason = reason or find_lack(part, data, "--data")
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
        """The objectness statistics of the cell's crop on this planner's split of its data."""
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
        engine = ""
        try:
            task = self.component("task", self.cell.task, main=True)
            data = None if self.cell.weights else self.data(self.cell.data)
            task_data = self._task_data(task)
            engine = str(getattr(task.params, "engine", ""))
            backbone = self._backbone(data)
            reason = task_reason(backbone.params["method"]["params"]["backbone"], task)
            reason = reason or find_lack(task, task_data, "--task-data")
            if reason:
                raise Unsupported(reason)
        except Unsupported as error:
            return PlannedCell(self._own(), None, engine, str(error), self._places())
        final = Stage(
            kind="evaluate",
            name=self.cell.task,
            version=task.version,
            runner="bench.stages.evaluate:run",
            params={"task": self._identity(task), "seed": self.cell.seed},
            inputs=task.stages(self, backbone, task_data),
        )
        return PlannedCell(self._own(), final, engine, places=self._places())

    def _own(self) -> Cell:
        """The cell without the settings that belong to other cells of the plan."""
        own = tuple((k, v) for k, v in self.cell.overrides if k in self.used)
        return replace(self.cell, overrides=own)

    def _places(self) -> Places:
        """The folders of the cell's data that were given by path."""
        names = dict.fromkeys((self.cell.data, self.cell.task_data, TASK_DATA))
        return tuple((name, str(self.paths[name])) for name in names if self.paths.get(name))

    def _task_data(self, task: Task) -> Stage:
        """What the task is trained and scored on: the set, or its training images in two parts."""
        whole = self.data(self.cell.task_data, TASK_DATA)
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


def pair_reason(method: Method, crop: Crop) -> str | None:
    """None, or why the method cannot be paired with the crop: the one place that decides it."""
    return method.supports(type(crop))


def find_lack(component: Component, data: Stage, option: str) -> str | None:
    """None, or why the component cannot work on this data set; `option` is the one that names
    it."""
    if ("data", data.name) not in registry.entries():  # nobody knows what it holds
        return None
    known = cast("type[Data]", registry.load("data", data.name))
    parts = ("val",) if "holdout" in data.params else ()
    lack = component.data_needs(component.params).find_lack(known, parts)
    if lack is None:
        return None
    other = f"{option} with another set" if option else "another set"
    return f"{component.kind} {component.name}: {lack}; try {other}: bench data list"


def task_reason(backbone: str, task: Task) -> str | None:
    """None, or why the task cannot judge a backbone of that name."""
    return task.supports(backbone)


def _is_there(place: Path | None) -> bool:
    return place is not None and place.exists()


def make_plan(
    cells: Iterable[Cell],
    runtime: Runtime,
    paths: Mapping[str, Path | None],
    absent: Absent | None = None,
) -> Plan:
    """Plan and validate every cell before anything runs; BadInput for settings without owner.

    absent: gets the data sets that no path is given for and that are not where they are looked
    for, and how to get them. What is made from them has keys that mean nothing then: such a plan
    is to be looked at, not to be run. Without it they are an error.
    """
    planned = plan_each(cells, runtime, paths, lambda planner: planner.plan(), absent=absent)
    return Plan([cell for _, cell in planned])


def plan_each(
    cells: Iterable[Cell],
    runtime: Runtime,
    paths: Mapping[str, Path | None],
    make: Callable[[Planner], T],
    split: str = "train",
    absent: Absent | None = None,
) -> list[tuple[Cell, T]]:
    """`make(planner)` for every cell, its bare settings given their owners; BadInput for a setting
    that nothing of any cell has. `split` is that of the planners; `absent` as for `make_plan`."""
    shared = Shared(absent=absent)
    results: list[tuple[Cell, T]] = []
    used: set[str] = set()
    touched: Touched = {}

    def plan_for(cell: Cell) -> Planner:
        return Planner(cell, runtime, paths, shared, split=split)

    for given in cells:
        planner = plan_for(_with_owners(given, plan_for, make))
        results.append((planner.cell, make(planner)))
        used |= planner.used
        touched |= planner.touched
    keys = dict.fromkeys(key for cell, _ in results for key, _ in cell.overrides)
    refuse_unused(keys, used, touched)
    return results


def _with_owners(
    cell: Cell, plan_for: Callable[[Cell], Planner], make: Callable[[Planner], object]
) -> Cell:
    """The cell with bare `field` settings as `owner.field`: planning it without them tells which
    components it asks for."""
    dotted = tuple((key, value) for key, value in cell.overrides if "." in key)
    if dotted == cell.overrides:
        return cell
    first = plan_for(replace(cell, overrides=dotted))
    make(first)
    return replace(cell, overrides=name_owners(cell.overrides, first.touched))
