"""What a board is made of: an entry is one group of cells (all seeds of a combination) from one
source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import Connection, String, func, select, type_coerce

from bench.contracts.task import DEAD as DEAD
from bench.contracts.task import DEAD_TEXT as DEAD_TEXT
from bench.core.collector import collector_off
from bench.core.params import format_setting
from bench.core.statistics import is_number, summarise
from bench.plan.cell import TASK_DATA
from bench.results.db.connection import read_fields
from bench.results.db.models import CellRow, ResultRow
from bench.results.db.queries import select_dead, split_in_parts

# states of cells without a result, first wins
ASKED = ("running", "failed", "interrupted", "unsupported")

Result = tuple[str | None, str, float | None]  # source, headline, value
NO_RESULT: tuple[Result, ...] = ((None, "", None),)
DAMAGED = "its result in the database is no number; try: bench results check"
SCAN = 3  # times as many results in all as a board has cells, up to which all are read


class BoardName(NamedTuple):
    """Which results may be compared: one scale, one pretraining set."""

    scale: str
    data: str
    results: int


@dataclass(slots=True)
class Entry:
    """All seeds of a combination from one source ("measured", "imported" or "reported")."""

    group: str
    source: str
    method: str
    crop: str
    task: str
    scale: str
    pretrain_data: str
    pretrain_data_key: str
    task_data: str
    task_data_key: str
    engine: str
    overrides: Mapping[str, str]
    pretraining: str  # digest: the same pretraining but for the seed; "" unknown
    protocol: str  # digest: the same evaluation but for the seed; "" unknown
    command: str
    pretrain_name: str = ""  # what the user calls the data
    task_name: str = ""
    headline: str = ""
    values: dict[int, float] = field(default_factory=dict)  # headline metric by seed
    labels: dict[int, str] = field(default_factory=dict)  # of every cell, by seed
    states: dict[str, int] = field(default_factory=dict)
    reason: str = ""
    cited: str = ""  # where a reported number is printed, in few words; `reason` says it in full
    mean: float | None = None
    ci95: float | None = None
    dead: bool = False  # one of its networks is (`bench.contracts.task.DEAD`)
    # keys of its row and column, and the settings of its pretraining, as `placement` reads them
    place: tuple[str, str] | None = field(default=None, compare=False, repr=False)
    settings: str | None = field(default=None, compare=False, repr=False)

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def state(self) -> str:
        """done if any seed is; else the first of running, failed, interrupted, unsupported."""
        if self.values:
            return "done"
        return next((s for s in ASKED if s in self.states), "missing")


FIELDS = (
    "group",
    "method",
    "crop",
    "task",
    "scale",
    "pretrain_data",
    "pretrain_data_key",
    "task_data",
    "task_data_key",
    "engine",
    "overrides",
    "pretraining",
    "protocol",
    "command",
    "pretrain_name",
    "task_name",
)


def list_boards(connection: Connection) -> list[BoardName]:
    """Every scale and pretraining set there are cells of, most cells first."""
    count = func.count(CellRow.label)
    query = select(CellRow.scale, CellRow.pretrain_data, count)
    rows = connection.execute(query.group_by(CellRow.scale, CellRow.pretrain_data))
    return sorted((BoardName(*row) for row in rows), key=lambda b: (-b.results, b.scale, b.data))


def load_entries(
    connection: Connection,
    scale: str,
    data: str,
    groups: Collection[str] | None = None,
    dead: Collection[tuple[str, str]] | None = None,
) -> list[Entry]:
    """The entries of the cells of a scale and a pretraining set, but for those that sweeps score
    on a part of the training images; in the order of `sort_entries`. `groups`: of these alone.
    `dead`: what `select_dead` returned, where that is known."""
    here = (CellRow.scale == scale, CellRow.pretrain_data == data, CellRow.validation.is_(False))
    dead = select_dead(connection) if dead is None else dead
    with collector_off():
        if groups is None:
            return sort_entries(_load(connection, here, dead))
        # not by the index of the board, which a planner takes for the narrower one
        here = (*(func.coalesce(c.left, "") == c.right for c in here[:2]), here[2])
        parts = split_in_parts(groups)
        return sort_entries(
            e for some in parts for e in _load(connection, (*here, CellRow.group.in_(some)), dead)
        )


def sort_entries(entries: Iterable[Entry]) -> list[Entry]:
    """The entries by task and group, so that what is made of them does not depend on when each
    was written."""
    return sorted(entries, key=lambda e: (e.task, e.task_data, e.engine, e.group, e.source))


def _load(
    connection: Connection, here: Sequence[Any], dead: Iterable[tuple[str, str]]
) -> list[Entry]:
    query = select(CellRow.group, CellRow.label, CellRow.seed, CellRow.state).where(*here)
    cells = connection.execute(query).fetchall()
    names = _read_groups(connection, here, cells)
    results = _read_results(connection, here, len(cells))
    entries = _make_entries(cells, names, results)
    for group, reason in connection.execute(_select_reasons(here)):
        if (group, "measured") in entries:
            entries[group, "measured"].reason = reason
    for marker in dead:
        if marker in entries:
            entries[marker].dead = True
    return [_summarise(entry) for entry in entries.values()]


def _make_entries(
    cells: Iterable[Any],
    names: Mapping[str, Mapping[str, Any]],
    results: Mapping[str, tuple[Result, ...]],
) -> dict[tuple[str, str], Entry]:
    """The entries of cells (group, label, seed, state), by group and source."""
    entries: dict[tuple[str, str], Entry] = {}
    for group, label, seed, state in cells:
        shared = names.get(group)
        if shared is None:
            continue  # deleted between the queries
        for source, headline, value in results.get(label) or NO_RESULT:
            if source is None and state == "done":
                continue  # its result is gone
            key = (group, source or "measured")
            entry = entries.get(key)
            if entry is None:
                entry = entries[key] = Entry(source=key[1], **shared)
            entry.labels[seed] = label
            if value is not None:
                entry.values[seed], entry.headline = value, headline
            else:
                entry.states[state] = entry.states.get(state, 0) + 1
    return entries


def _read_results(
    connection: Connection, here: Sequence[Any], cells: int
) -> dict[str, tuple[Result, ...]]:
    """The results of each cell, by label. Those of a board of many of the database's cells are
    read from the index in its order, in a third of the time that a look for each cell takes."""
    query = select(ResultRow.label, ResultRow.source, ResultRow.headline, ResultRow.value)
    last = connection.scalar(select(func.max(ResultRow.id))) or 0
    if last > SCAN * cells:
        query = query.join(CellRow, CellRow.label == ResultRow.label).where(*here)
    results: dict[str, tuple[Result, ...]] = {}
    for label, source, headline, value in connection.execute(query).fetchall():
        result = (source, headline, value)
        known = results.get(label)
        results[label] = (result,) if known is None else (*known, result)
    return results


def _read_groups(
    connection: Connection, here: Sequence[Any], cells: Iterable[Any]
) -> dict[str, dict[str, Any]]:
    """What the cells of a group share, by group: read from that with the lowest seed."""
    lowest: dict[str, tuple[int, str]] = {}
    for group, label, seed, _ in cells:
        known = lowest.get(group)
        if known is None or (seed, label) < known:
            lowest[group] = (seed, label)
    # the cells of the usual lowest seed are next to each other in the index of the board
    usual = Counter(seed for seed, _ in lowest.values()).most_common(1)
    columns = [
        # as text, since the same settings are in many groups
        type_coerce(column, String) if column.name == "overrides" else column
        for column in (CellRow.__table__.c[name] for name in FIELDS)
    ]
    query = select(CellRow.label, *columns)
    rows: list[Any] = []
    for seed, _ in usual:
        rows += connection.execute(query.where(*here, CellRow.seed == seed)).fetchall()
    others = [label for seed, label in lowest.values() if seed != usual[0][0]]
    for some in split_in_parts(others):
        rows += connection.execute(query.where(CellRow.label.in_(some))).fetchall()
    settings: dict[str, Mapping[str, str]] = {}
    groups: dict[str, dict[str, Any]] = {}
    for row in rows:
        names = dict(zip(("label", *FIELDS), row, strict=True))
        if lowest[names["group"]][1] != names.pop("label"):
            continue
        text = names["overrides"]
        if text not in settings:
            settings[text] = read_fields(text)
        names["overrides"] = settings[text]
        groups[names["group"]] = names
    return groups


def _select_reasons(here: Sequence[Any]) -> Any:
    return select(CellRow.group, CellRow.reason).where(
        *here, CellRow.state != "done", CellRow.reason.is_not(None)
    )


def _summarise(entry: Entry) -> Entry:
    if not all(map(is_number, entry.values.values())):
        _drop_damaged(entry)
    if entry.values:
        summary = summarise(list(entry.values.values()))
        entry.mean, entry.ci95 = summary["mean"], summary["ci95"]
    return entry


def _drop_damaged(entry: Entry) -> None:
    """Take what is no number for a cell that failed."""
    kept = {seed: value for seed, value in entry.values.items() if is_number(value)}
    entry.states["failed"] = entry.states.get("failed", 0) + len(entry.values) - len(kept)
    entry.values, entry.reason = kept, DAMAGED


def evaluation_settings(entry: Entry) -> tuple[tuple[str, str], ...]:
    """The overrides that belong to the evaluation: to the task and its data."""
    owners = {entry.task, "task", TASK_DATA, *({entry.task_data} - {entry.pretrain_data})}
    return tuple(
        sorted((k, v) for k, v in entry.overrides.items() if k.partition(".")[0] in owners)
    )


def pretraining_settings(entry: Entry) -> tuple[tuple[str, str], ...]:
    """The overrides that belong to the pretraining."""
    own = dict(evaluation_settings(entry))
    return tuple(sorted((k, v) for k, v in entry.overrides.items() if k not in own))


def format_settings(settings: Sequence[tuple[str, str]]) -> str:
    """`lr=0.1 epochs=5`: settings in few words."""
    return " ".join(f"{k}={format_setting(v)}" for k, v in settings)
