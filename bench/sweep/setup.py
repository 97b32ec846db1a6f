"""What a sweep is: the cells of every trial, the spaces, how they are searched. Kept in the study
as JSON."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench.contracts import registry
from bench.core.errors import BadInput
from bench.core.params import Runtime, digest, format_setting
from bench.plan.cell import Cell, Plan
from bench.plan.options import match
from bench.plan.planner import make_plan
from bench.sweep.owners import Owned, default_component, find_setting
from bench.sweep.space import Space

SAMPLERS = ("auto", "grid", "tpe", "random", "cmaes", "qmc", "gp")
PRUNERS = ("auto", "none", "median", "halving", "hyperband")
MANY = 100_000  # where the time ends it
TRIALS = 20  # of a search that has no end of its own


PAIRS = ("overrides", "names")  # fields of a cell that are pairs


@dataclass(frozen=True)
class Setup:
    """A sweep. `cells` are the cells of a trial with no value set, one per seed; `key` says what
    must be the same for trials to be compared."""

    cells: tuple[Cell, ...]
    spaces: tuple[Space, ...]
    holdout: float
    headline: str
    sampler: str
    pruner: str
    trials: int
    key: str = ""
    notes: tuple[str, ...] = field(default=(), compare=False)

    @property
    def grid(self) -> bool:
        return self.sampler == "grid"

    def points(self) -> list[dict[str, Any]]:
        """Every point of a grid, the last setting fastest."""
        names = [s.name for s in self.spaces]
        product = itertools.product(*(s.values for s in self.spaces))
        return [dict(zip(names, values, strict=True)) for values in product]

    def trial(self, values: Mapping[str, Any]) -> list[Cell]:
        """The cells of a trial, scored on the validation part."""
        return [self._with(c, {**values, "task.holdout": self.holdout}) for c in self.cells]

    def final(self, values: Mapping[str, Any]) -> list[Cell]:
        """The cells of the chosen configuration, scored on the test images."""
        return [self._with(c, values) for c in self.cells]

    def _with(self, cell: Cell, values: Mapping[str, Any]) -> Cell:
        return replace(
            cell, overrides=(*cell.overrides, *((k, format_setting(v)) for k, v in values.items()))
        )

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            **vars(self),
            "cells": [vars(c) for c in self.cells],
            "notes": list(self.notes),
            "spaces": [s.plain() for s in self.spaces],
        }

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Setup:
        """From `plain()`."""
        cells = [
            Cell(**{**c, **{n: tuple((k, v) for k, v in c.get(n, ())) for n in PAIRS}})
            for c in plain["cells"]
        ]
        spaces = tuple(map(Space.of, plain["spaces"]))
        return cls(
            **{**plain, "cells": tuple(cells), "spaces": spaces, "notes": tuple(plain["notes"])}
        )


def resolve(
    params: Sequence[str], scale: str, named: Mapping[str, str | None], pretrains: bool = True
) -> tuple[list[Owned], dict[str, str], list[str]]:
    """The swept settings, the sweep's components by kind, and what to say about choices not asked
    for."""
    chosen = {kind: _match_one(kind, name) for kind, name in named.items() if name}
    owned = [find_setting(text, chosen, scale) for text in params]
    names = [o.name for o in owned]
    if len(set(names)) < len(names):
        raise BadInput(
            f"--param names {max(names, key=names.count)} twice; give it once, with all its values"
        )
    notes = [_name_owner(o) for o in owned]
    for o in owned:
        if o.kind == "proposals":
            continue
        if chosen.setdefault(o.kind, o.owner) != o.owner:
            raise BadInput(
                f"{o.name} is swept but the {o.kind} is {chosen[o.kind]}; "
                f"try: --{o.kind} {o.owner}, or bench list params {chosen[o.kind]}"
            )
    for kind in ("method", "task"):
        if kind not in chosen and (pretrains or kind == "task"):
            chosen[kind] = default_component(kind)
            notes.append(f"{kind} {chosen[kind]}: no --{kind} was given")
    return owned, chosen, notes


def _match_one(kind: str, name: str) -> str:
    names = match(kind, name)
    if len(names) != 1:
        raise BadInput(f"a sweep has one {kind}, got {', '.join(names)}; try: --{kind} {names[0]}")
    return names[0]


def _name_owner(o: Owned) -> str:
    more = f"; also a setting of {', '.join(sorted(o.others))}" if o.others else ""
    return f"{o.field} belongs to {o.kind} {o.owner}{more}"


def change_setup(
    setup: Setup, params: Sequence[str], sampler: str, pruner: str, trials: int | None, timed: bool
) -> Setup:
    """The setup with other values of the same settings, another search or number of trials."""
    cell = setup.cells[0]
    named = (
        {"task": cell.task}
        if cell.weights
        else {k: getattr(cell, k) for k in ("method", "crop", "task")}
    )
    owned, _, _ = resolve(params, cell.scale, named, not cell.weights)
    spaces = {s.name: s for s in setup.spaces}
    other = [o.name for o in owned if o.name not in spaces]
    if other:
        raise BadInput(
            f"the study sweeps {', '.join(spaces)}, not {other[0]}; for a new study, "
            "leave --study out"
        )
    spaces |= {o.name: o.space for o in owned}
    how = choose_search(tuple(spaces.values()), sampler, pruner, trials, timed)
    if (how[0] == "grid") != setup.grid:
        raise BadInput(
            f"the study is a {setup.sampler} search and cannot become a {how[0]} search; "
            "for a new study, leave --study out"
        )
    return replace(
        setup, spaces=tuple(spaces.values()), sampler=how[0], pruner=how[1], trials=how[2]
    )


def choose_crop(owned: Sequence[Owned], chosen: dict[str, str], works: Any) -> str:
    """The sweep's crop: the one chosen; else the only one that uses the proposal generators that
    are swept (`works(crop)` says if it does); else whole images."""
    if "crop" in chosen:
        return chosen["crop"]
    if not any(o.kind == "proposals" for o in owned):
        return "image"
    using = [c for c in registry.names("crop") if works(c)]
    if len(using) == 1:
        return using[0]
    names = ", ".join(f"--crop {c}" for c in using)
    owners = ", ".join(o.owner for o in owned if o.kind == "proposals")
    raise BadInput(f"{len(using)} crops use {owners}; choose one: {names or 'bench list crops'}")


def choose_search(
    spaces: Sequence[Space], sampler: str, pruner: str, trials: int | None, timed: bool
) -> tuple[str, str, int]:
    """The sampler, the pruner and the number of trials. By default they are a grid of all values
    where every setting has a list, else TPE with the median pruner. `timed`: a time ends the
    search."""
    for what, got, known in (("sampler", sampler, SAMPLERS), ("pruner", pruner, PRUNERS)):
        if got not in known:
            raise BadInput(
                f"--{what} is one of {', '.join(known)}, got {got!r}; try: --{what} {known[1]}"
            )
    if sampler == "cmaes" and find_spec("cmaes") is None:
        raise BadInput(
            "sampler 'cmaes' needs the package cmaes; try: pip install cmaes, or --sampler tpe"
        )
    endless = [s for s in spaces if not s.finite]
    if sampler == "auto":
        sampler = "tpe" if endless else "grid"
    if sampler == "grid" and endless:
        space = endless[0]
        ends = f"{format_setting(space.low)},{format_setting(space.high)}"
        raise BadInput(
            f"a grid needs a list of values, {space.name} has the range {space}; "
            f"try: --param {space.name}={ends}, or --sampler tpe"
        )
    if pruner == "auto":
        pruner = "none" if sampler == "grid" else "median"
    size = 1
    for s in spaces:
        size *= len(s.values)
    return sampler, pruner, trials or (size if sampler == "grid" else MANY if timed else TRIALS)


def seal_setup(setup: Setup, runtime: Runtime, paths: Mapping[str, Path | None]) -> Setup:
    """The setup with its key, everything about it checked: the task can be validated, the pair
    works, the settings are used."""
    task = registry.load("task", setup.cells[0].task)
    if "holdout" not in task.Params.model_fields:
        raise BadInput(
            f"task {task.name} has no validation part, because its Params are not "
            "bench.contracts.task.TaskParams; try another --task"
        )
    base = make_plan(setup.trial({}), runtime, paths)
    _check_supported(base)
    first = {s.name: (s.values or (s.low,))[0] for s in setup.spaces}
    _check_supported(
        make_plan(setup.trial(first), runtime, paths)
    )  # an unused setting is an error
    finals = [c.final.key for c in base.cells if c.final]
    key = digest({"cells": finals, "settings": sorted(first), "grid": setup.grid})
    return replace(setup, key=key)


def _check_supported(plan: Plan) -> None:
    for planned in plan.cells:
        if planned.final is None:
            c = planned.cell
            raise BadInput(
                f"{c.method} x {c.crop} x {c.task}: {planned.unsupported}; "
                "try: bench list --matrix"
            )


def name_study(setup: Setup) -> str:
    """The default name of a sweep: the same settings of the same cells have the same name."""
    cell = setup.cells[0]
    fields = "+".join(s.name.rpartition(".")[2] for s in setup.spaces)
    return f"{fields}-{cell.method}-{cell.crop}-{cell.task}-{cell.scale}-{setup.key[:6]}"
