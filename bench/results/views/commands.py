"""The commands that fill what a board lacks."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from bench.plan.options import split_name
from bench.results.views.board import Column, Row
from bench.results.views.entries import pretraining_settings


def compact_seeds(seeds: Sequence[int]) -> str:
    """`0-2,5` for 0, 1, 2 and 5."""
    parts: list[list[int]] = []
    for seed in sorted(set(seeds)):
        if parts and seed == parts[-1][-1] + 1:
            parts[-1].append(seed)
        else:
            parts.append([seed])
    return ",".join(str(p[0]) if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in parts)


def name_seeds(command: str, seeds: Sequence[int]) -> str:
    """The command of a cell, for these seeds."""
    words = shlex.split(command)
    if "--seeds" in words:
        words[words.index("--seeds") + 1] = compact_seeds(seeds)
    return shlex.join(words)


def fill_command(row: Row, column: Column) -> str:
    """The command that fills the row's cell in a column, for all seeds the row has elsewhere."""
    model = next(iter(row.entries.values()))
    words = shlex.split(model.command)
    options = dict(zip(words[2::2], words[3::2], strict=False))
    places = (options.get("--task-data", ""), options.get("--data", ""))
    known = [
        place for place in places if split_name(place)[0].partition("=")[0] == column.task_data
    ]
    options |= {
        "--task": column.task,
        "--seeds": compact_seeds(row.seeds),
        "--task-data": next(iter(known), column.task_data),  # with its path
    }
    options.pop("--set", None)
    sets = [("--set", f"{k}={v}") for k, v in (*pretraining_settings(model), *column.settings)]
    return shlex.join([*words[:2], *(w for pair in (*options.items(), *sets) for w in pair)])


def complete_command(row: Row, column: Column) -> str:
    """The command for whatever a cell lacks; "" where nothing can be done."""
    entry = row.entries.get(column.key)
    if row.source == "reported" or (entry and entry.state in ("unsupported", "done")):
        return ""
    return entry.command if entry else fill_command(row, column)
