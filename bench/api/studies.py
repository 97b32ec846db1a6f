"""The study of a sweep, from the options of the command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from bench.core.errors import BadInput, Unavailable
from bench.plan.product import make_cells

if TYPE_CHECKING:
    from bench.core.params import Runtime
    from bench.sweep.setup import Setup
    from bench.sweep.study import Sweep


class SweepOptions(TypedDict):
    """The options of a sweep, as commands spell them. timed: it ends by the clock."""

    params: tuple[str, ...]
    method: str | None
    crop: str | None
    task: str | None
    data: str | None
    task_data: str | None
    scale: str | None
    seeds: str | None
    sets: tuple[str, ...]
    backbone: str | None
    precision: str | None
    sampler: str
    pruner: str
    trials: int | None
    holdout: float | None
    timed: bool


SEARCH = {"params", "sampler", "pruner", "trials", "timed"}  # options that change a known study
# options that may come with --study alone: they say where this machine has the data
MORE: tuple[Literal["data"], Literal["task_data"]] = ("data", "task_data")
HOLDOUT = 0.2


def open_study(
    runtime: Runtime, study: str | None, options: SweepOptions
) -> tuple[Sweep, dict[str, Path | None]]:
    """The sweep of the options, or the study of that name alone; and where the data are."""
    from bench.sweep.setup import change_setup, name_study
    from bench.sweep.study import Sweep

    changed = {k for k, v in options.items() if v and v != "auto" and k not in MORE}
    if (
        study
        and not changed - SEARCH
        and (not options["params"] or Sweep.exists(runtime.database, study))
    ):
        sweep = Sweep.load(runtime.database, study)
        if changed - {"timed"}:
            setup = change_setup(
                sweep.setup,
                params=options["params"],
                sampler=options["sampler"],
                pruner=options["pruner"],
                trials=options["trials"],
                timed=options["timed"],
            )
            sweep = Sweep.start(runtime.database, study, setup)
        return sweep, data_places(options)
    setup, paths = make_setup(runtime, options)
    return Sweep.start(runtime.database, study or name_study(setup), setup), paths


def data_places(options: SweepOptions) -> dict[str, Path | None]:
    from bench.plan.options import parse_data

    choices = [parse_data(options.get(name)) for name in MORE]
    return {c.name: c.path for c in choices if c.name and c.path}


def make_setup(runtime: Runtime, options: SweepOptions) -> tuple[Setup, dict[str, Path | None]]:
    """What the options ask for, validated, and where the data are; nothing is written."""
    from bench.contracts import registry
    from bench.sweep.setup import Setup, choose_crop, choose_search, resolve, seal_setup

    if not options["params"]:
        raise BadInput(
            "--param is missing; try: bench sweep --param n_crops, or bench list params NAME"
        )
    scale, weights = options["scale"] or "tiny", "=" in (options["backbone"] or "")
    if weights and not options["task"]:
        raise BadInput("--task is missing; try: bench list tasks")
    named = {kind: options[kind] for kind in ("method", "crop", "task")}
    owned, chosen, notes = resolve(options["params"], scale, named, pretrains=not weights)
    sampler, pruner, trials = choose_search(
        [o.space for o in owned],
        options["sampler"],
        options["pruner"],
        options["trials"],
        options["timed"],
    )
    places: dict[str, Path | None] = {}

    def make(crop: str | None) -> Setup:
        cells, paths = make_cells(
            chosen.get("method"),
            crop,
            chosen["task"],
            scale,
            options["seeds"] or "0",
            options["data"],
            options["task_data"],
            options["sets"],
            options["backbone"],
            options["precision"],
        )
        places.update(paths)
        task: Any = registry.load("task", chosen["task"])
        spaces = tuple(o.space for o in owned)
        setup = Setup(
            tuple(cells),
            spaces,
            options["holdout"] or HOLDOUT,
            task.headline,
            sampler,
            pruner,
            trials,
            "",
            (*notes, *(f"{o.name}: the values its field declares" for o in owned if o.declared)),
        )
        return seal_setup(setup, runtime, paths)

    if weights:
        return make(chosen.get("crop")), places
    return make(choose_crop(owned, chosen, lambda crop: _works(make, crop))), places


def _works(make: Callable[[str], Setup], crop: str) -> bool:
    try:
        make(crop)
    except (BadInput, Unavailable):
        return False
    return True
