"""Which recorded cells are a table's cell: those with equal names, and with equal settings once
defaults are left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Generic, TypeVar

from bench.contracts import registry
from bench.core.errors import BenchError
from bench.plan.cell import Cell
from bench.plan.options import default_task_data
from bench.results.db.records import LeaderboardRow, StoredCell

Entry = TypeVar("Entry", StoredCell, LeaderboardRow)


class Recorded(Generic[Entry]):
    """What the database says of the cells, or of the leaderboard's rows, of one scale, to be
    looked up by the cell of a table."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.by_name: dict[tuple[str, ...], list[Entry]] = {}
        for entry in entries:
            names = entry["method"], entry["crop"], entry["task"], entry["pretrain_data"]
            self.by_name.setdefault(names, []).append(entry)

    def find(self, cell: Cell) -> list[Entry]:
        """The entries of the table's cell, whatever their seed."""
        near = self.by_name.get((cell.method, cell.crop, cell.task, cell.data), [])
        if not near:
            return []
        data = default_task_data(cell.task, cell.scale)
        wanted = effective_settings(cell, dict(cell.overrides))
        return [
            e
            for e in near
            if e["task_data"] == data and effective_settings(cell, e["overrides"]) == wanted
        ]


def effective_settings(cell: Cell, overrides: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    """The settings that say something: `crop.FIELD` and `task.FIELD` under the component's name,
    those that a component has at this scale anyway left out, numbers spelled one way."""
    mine = {"crop": cell.crop, "task": cell.task}
    effective = set()
    for key, text in overrides.items():
        owner, _, field = key.partition(".")
        name = mine.get(owner, owner)
        value, default = _compare_default(owner, name, field, cell.method, cell.scale, str(text))
        if value != default:
            effective.add((f"{name}.{field}", value))
    return frozenset(effective)


@cache
def _compare_default(
    owner: str, name: str, field: str, method: str, scale: str, text: str
) -> tuple[str, str]:
    """A setting's value and its default at the scale, as text; one that nobody has is taken as
    spelled."""
    own = owner in ("method", "crop", "task")
    kinds = [owner] if own else [kind for kind, n in registry.entries() if n == name]
    for kind in kinds:
        try:
            cls = registry.load(kind, method if owner == "method" else name)
            if field not in cls.Params.model_fields:
                continue
            params = cls.resolve(scale, {field: text}).params
        except BenchError:
            break
        return repr(getattr(params, field)), repr(getattr(cls.resolve(scale).params, field))
    return text, ""
