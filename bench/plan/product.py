"""Cells of the product of names: methods x crops x tasks x seeds, as commands name them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.contracts import registry
from bench.core.errors import BadInput, Unavailable
from bench.core.files import expand_path
from bench.nn.timm_names import TIMM
from bench.plan.cell import PRETRAIN_DATA, TASK_DATA, WEIGHTS, Cell, Plan
from bench.plan.options import (
    DataChoice,
    check_scale,
    default_data,
    default_task_data,
    match,
    parse_data,
    parse_seeds,
    parse_settings,
    split_name,
)

if TYPE_CHECKING:
    from bench.core.params import Runtime

Settings = tuple[tuple[str, str], ...]
Paths = dict[str, Path | None]


def plan_product(runtime: Runtime, absent: dict[str, str] | None = None, **options: Any) -> Plan:
    """The validated plan of the cells that `make_cells` makes of the options; `absent` as for
    `make_plan`."""
    from bench.plan.planner import make_plan

    cells, paths = make_cells(**options)
    return make_plan(cells, runtime, paths, absent)


def make_cells(
    method: str | None,
    crop: str | None,
    task: str,
    scale: str,
    seeds: str,
    data: str | None,
    task_data: str | None,
    sets: tuple[str, ...],
    backbone: str | None = None,
    precision: str | None = None,
    engine: str | None = None,
) -> tuple[list[Cell], Paths]:
    """Cells of the product of the options, and the paths of their data; every name is checked.

    method, crop, task: names and globs separated by commas; the default crop is `image`. seeds:
    `0`, `0,2` or `0-4`. data, task_data: NAME or NAME=PATH, by default those of the scale. sets:
    KEY=VALUE texts. backbone: NAME, or weights=FILE, timm:NAME or NAME=FILE and no method. data
    and weights may be named
    for the boards (`split_name`). precision: `method.precision`.
    engine: the detection library of the tasks that have a choice of it. Raises BadInput.
    """
    check_scale(scale)
    learned, scored = parse_data(data), parse_data(task_data)
    backbone, shown = split_name(backbone or "")
    weights, architecture = _parse_backbone(backbone, method=method, crop=crop, data=data)
    apart = _are_apart(learned, scored, sets)
    names = _join_names(learned, scored, apart)
    names = (*names, *([(WEIGHTS, shown)] if shown else []))
    if precision:
        sets = (*sets, f"method.precision={precision}")
    named = _join_settings(learned, scored, apart)
    overrides = (*architecture, *named, *parse_settings(sets))
    if engine and any(key.rpartition(".")[2] == "engine" for key, _ in overrides):
        raise BadInput("--engine and --set ...engine= say the same twice; try: one of the two")
    if weights:
        pretrained = [(_label(shown or weights), "-", "unknown")]
    else:
        methods, crops = match("method", method or ""), match("crop", crop or "image")
        pretrained = [(m, c, learned.name or default_data(scale)) for m in methods for c in crops]
    cells = []
    for m, c, d in pretrained:
        for t in match("task", task):
            wanted, settings = scored.name or default_data(scale), overrides
            with suppress(Unavailable):  # its cells say why
                wanted = scored.name or default_task_data(t, scale)
                settings = (*overrides, *_engine_setting(t, engine))
            own = tuple((of, name) for of, name in names if of in (d, wanted, WEIGHTS, TASK_DATA))
            cell = Cell(m, c, t, d, wanted, scale, 0, settings, weights, own)
            cells += [replace(cell, seed=s) for s in parse_seeds(seeds)]
    return cells, _join_paths(learned, scored, apart)


def _parse_backbone(text: str | None, **others: str | None) -> tuple[str, Settings]:
    """(what gives the weights, "" where they are learned; overrides) of --backbone; BadInput where
    `others` do not go with it."""
    kind, equals, path = (text or "").partition("=")
    if equals and not path and kind == WEIGHTS:
        raise BadInput(
            f"--backbone is NAME, weights=FILE, timm:NAME or NAME=FILE, got {text!r}; try: "
            "--backbone resnet50"
        )
    if kind == WEIGHTS and equals:
        weights = str(expand_path(path))
    elif not kind:
        _require_method(others["method"])
        return "", ()
    else:
        from bench.nn.given import parse_network

        given = parse_network(text or "")
        pretrained = given.path is not None or (given.network.startswith(TIMM))
        if given.path is None and (others["method"] or not pretrained):
            _require_method(others["method"])
            return "", (("method.backbone", given.network),)
        weights = given.text()
    for name, value in others.items():
        if value:
            raise BadInput(
                f"--{name} says how to pretrain, but --backbone {text} pretrains nothing; try: "
                f"without --{name}"
            )
    return weights, ()


def _require_method(method: str | None) -> None:
    if not method:
        raise BadInput("--method is missing; try: bench list methods, or --backbone weights=FILE")


def _engine_setting(task: str, engine: str | None) -> Settings:
    """The override that --engine is for a task; what `auto` means is decided here."""
    kind: Any = registry.load("task", task)
    picked = kind.pick_engine(engine) if engine else None
    return ((f"{task}.engine", picked),) if picked else ()


def _label(weights: str) -> str:
    from bench.stages.weights import label

    return label(weights)


def _are_apart(learned: DataChoice, scored: DataChoice, sets: tuple[str, ...]) -> bool:
    """Whether --data and --task-data are two sets of one kind: two folders, or one with other
    settings. Each then has a role by which its path, name and settings are known."""
    if not learned.name or learned.name != scored.name or not (learned.path and scored.path):
        return False
    by_role = any(text.partition(".")[0] in (PRETRAIN_DATA, TASK_DATA) for text in sets)
    return by_role or (learned.path, learned.settings) != (scored.path, scored.settings)


def _join_names(learned: DataChoice, scored: DataChoice, apart: bool) -> Settings:
    """(data set, name) of those options that name one; BadInput for two names of one set."""
    if apart:
        own = [(learned.name or "", learned.shown)] if learned.shown else []
        return (*own, (TASK_DATA, scored.shown))
    names: dict[str, str] = {}
    for of, _, shown, _ in (learned, scored):
        if of and shown and names.setdefault(of, shown) != shown:
            raise BadInput(
                f"--data and --task-data call {of!r} {names[of]!r} and {shown!r}; "
                "try: one name for both"
            )
    return tuple(names.items())


def _join_settings(learned: DataChoice, scored: DataChoice, apart: bool) -> Settings:
    """The settings of named sets, those of two sets of one kind by their roles."""
    if not apart:
        return tuple(dict.fromkeys((*learned.settings, *scored.settings)))
    return tuple(
        (f"{role}.{key.partition('.')[2]}", value)
        for role, choice in ((PRETRAIN_DATA, learned), (TASK_DATA, scored))
        for key, value in choice.settings
    )


def _join_paths(learned: DataChoice, scored: DataChoice, apart: bool) -> Paths:
    """{data: path} of the sets that were given with a path; that of the second of two sets of one
    kind by its role."""
    paths: Paths = {c.name: c.path for c in (scored, learned) if c.name and c.path}
    return paths | {TASK_DATA: scored.path} if apart else paths


def make_crop_cells(
    crop: str, data: str, scale: str, sets: tuple[str, ...], note: Callable[[str], None]
) -> tuple[list[Cell], Paths]:
    """A cell for each crop strategy (names and globs, or all) that has nothing but it and the
    data, and the data's path. `note` gets a line for each strategy that is not usable."""
    name, path, _, named = parse_data(data)
    if name is None:
        raise BadInput("--data is empty; try: --data scenes")
    cell = Cell("", "", "", name, name, check_scale(scale), 0, (*named, *parse_settings(sets)))
    crops = match("crop", "*" if crop == "all" else crop, note)
    return [replace(cell, crop=each) for each in crops], {name: path}
