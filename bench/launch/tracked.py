"""What a tracker shows of a run beside its figures: its name, group, config and tags.

A run is one stage, one trial of a sweep, or the board of a command. Its config is flat, so that a
tracker's tables can be filtered and its parallel coordinates drawn: a changed setting is a column
of its own, with dashes for the dots that W&B takes for nesting (`byol-lr`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.core.params import digest
from bench.core.stage import Stage
from bench.plan.cell import WEIGHTS, Cell, PlannedCell

LONGEST_TAG = 64  # characters; W&B refuses a run with a longer one
NAMED_CELLS = 20  # that a note names


@dataclass(frozen=True)
class TrackedRun:
    """One run of a tracker. id: what makes it the same run when it goes on. group: of the runs
    that differ in their seed, or of a study. job_type: the kind of stage, `trial`, or
    `leaderboard`."""

    id: str
    name: str
    group: str
    job_type: str
    config: dict[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    notes: str = ""


def describe_stage(stage: Stage, cells: Sequence[PlannedCell]) -> TrackedRun:
    """The run of a stage that these cells of a command need, the cell whose last stage it is first
    among them, if any."""
    notes = ""
    tags: tuple[str, ...] = ()
    finals = [c for c in cells if c.final is not None and c.final.key == stage.key]
    if finals:
        config = {**describe_cell(finals[0].cell), **_describe_last(finals[0], stage)}
        group = name_group(finals[0])
    elif stage.kind == "pretrain":
        config, notes, tags = _describe_pretraining(stage, cells)
        group = f"pretrain-{stage.name}-{digest_without_seed(stage)[:8]}"
    else:
        config = {}
        group = name_group(cells[0]) if cells else stage.short
    config = {**config, "key": stage.key, "params": dict(stage.params)}
    name = f"{stage.kind}/{stage.name}"
    return TrackedRun(stage.key[:16], name, group, stage.kind, config, tags, notes)


def describe_cell(cell: Cell) -> dict[str, Any]:
    """Method, crop, task, data, task_data, scale, seed, the changed settings as one text and each
    of them."""
    plain = {
        "method": cell.method,
        "crop": cell.crop,
        "task": cell.task,
        "data": cell.pretrain_name or cell.data,
        "task_data": cell.task_name or cell.task_data,
        "scale": cell.scale,
        "seed": cell.seed,
        "overrides": " ".join(f"{key}={value}" for key, value in cell.overrides),
    }
    return {**flatten_settings(cell.overrides), **plain}


def flatten_settings(settings: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Settings by names without dots; the texts of the command line become values."""
    return {
        key.replace(".", "-"): _read_value(value) if isinstance(value, str) else value
        for key, value in settings
    }


def _read_value(text: str) -> Any:
    """A finite number or a truth value where the text reads as one, else the text."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, int | float) and math.isfinite(value) else text


def name_group(planned: PlannedCell) -> str:
    """The group of the cells that differ from this one in nothing but their seed."""
    cell = planned.cell
    assert planned.final is not None
    names = [f"{data}:{name}" for data, name in cell.names if name and data != WEIGHTS]
    words = (cell.method, cell.crop, cell.task, *names, cell.scale)
    return "-".join((*words, digest_without_seed(planned.final)[:8]))


def digest_without_seed(stage: Stage) -> str:
    """What is left of a stage's key when neither it nor its inputs have a seed."""
    known: dict[str, str] = {}

    def visit(each: Stage) -> str:
        if each.key not in known:
            known[each.key] = digest(
                {
                    "kind": each.kind,
                    "name": each.name,
                    "version": each.version,
                    "params": {k: v for k, v in each.params.items() if k != "seed"},
                    "inputs": {role: visit(child) for role, child in each.inputs.items()},
                }
            )
        return known[each.key]

    return visit(stage)


def clip_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """The tags once each, without empty ones; of a long one its end, where names of studies
    differ."""
    return tuple(dict.fromkeys(tag.strip()[-LONGEST_TAG:] for tag in tags if tag.strip()))


def _describe_last(planned: PlannedCell, stage: Stage) -> dict[str, Any]:
    """The engine of a cell, and the run of the backbone that it judges."""
    backbone = stage.inputs.get("backbone")
    known = {"engine": planned.engine} if planned.engine else {}
    return {**known, **({"backbone": backbone.key[:16]} if backbone else {})}


def _describe_pretraining(
    stage: Stage, cells: Sequence[PlannedCell]
) -> tuple[dict[str, Any], str, tuple[str, ...]]:
    """Config, note and tags of a pretraining: what its cells have in common, which they are, and
    what it is itself, which may be a stage of another method."""
    configs = [describe_cell(c.cell) for c in cells]
    config = {
        name: value
        for name, value in (configs[0] if configs else {}).items()
        if all(name in c and c[name] == value for c in configs)
    }
    data, crop = stage.inputs.get("data"), stage.params.get("crop")
    config["method"] = stage.name
    config |= {"crop": crop["name"]} if isinstance(crop, Mapping) else {}
    config |= {"data": config.get("data", data.name)} if data else {}
    config["seed"] = stage.params.get("seed")
    config["tasks"] = ", ".join(sorted({c.cell.task for c in cells}))
    config["cells"] = len(cells)
    config["shared"] = len(cells) > 1
    if len(cells) < 2:
        return config, "", ()
    names = [f"{c.cell.method} x {c.cell.crop} x {c.cell.task}" for c in cells[:NAMED_CELLS]]
    rest = f" and {len(cells) - NAMED_CELLS} more" if len(cells) > NAMED_CELLS else ""
    return config, f"Shared by {len(cells)} cells: {', '.join(names)}{rest}.", ("shared",)
