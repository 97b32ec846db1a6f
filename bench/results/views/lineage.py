"""The stages behind a cell: their graph, their provenance, and whether their code has changed
since."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, String, cast, select

from bench.contracts.source import Code
from bench.core.collector import collector_off
from bench.core.statistics import is_number
from bench.results.db.models import CellRow, MetricRow, ProvenanceRow, ResultRow, StageRow
from bench.results.db.queries import split_in_parts
from bench.results.db.records import StoredCell

KEY = re.compile(r'"([0-9a-f]{64})"')


@dataclass(frozen=True)
class StageInfo:
    """A recorded stage and where it comes from."""

    key: str
    kind: str
    name: str
    version: int
    params: Mapping[str, Any]
    inputs: Mapping[str, str]
    folder: str  # relative to the store
    runner: str
    source_digest: str
    provenance: Mapping[str, Any]

    @property
    def short(self) -> str:
        return self.key[:12]


@dataclass(frozen=True)
class CellInfo:
    """A cell with its results, {source: {metric: value}}, and each source's headline metric."""

    cell: StoredCell
    results: Mapping[str, Mapping[str, float]]
    headlines: Mapping[str, str]


def find_cell(connection: Connection, prefix: str) -> CellInfo | None:
    """The cell whose label starts with `prefix` (at least 4 hex digits), or None unless there is
    just one."""
    if len(prefix) < 4 or not re.fullmatch(r"[0-9a-f]+", prefix):
        return None
    query = select(CellRow.__table__).where(CellRow.label.startswith(prefix)).limit(2)
    rows = connection.execute(query).mappings().all()
    if len(rows) != 1:
        return None
    cell: Any = dict(rows[0])
    return _read_results(connection, cell)


def _read_results(connection: Connection, cell: StoredCell) -> CellInfo:
    query = select(ResultRow.source, ResultRow.headline, MetricRow.name, MetricRow.value)
    query = query.join(MetricRow, MetricRow.result_id == ResultRow.id)
    query = query.where(ResultRow.label == cell["label"]).order_by(
        ResultRow.source, MetricRow.position
    )
    results: dict[str, dict[str, float]] = {}
    headlines: dict[str, str] = {}
    for source, headline, name, value in connection.execute(query):
        if not is_number(value):
            continue  # damaged
        results.setdefault(source, {})[name] = value
        headlines[source] = headline
    return CellInfo(cell, results, headlines)


class Sibling(NamedTuple):
    """A cell of a group from one source; `value` is that of the headline metric, None where there
    is no result."""

    label: str
    seed: int
    state: str
    source: str | None
    value: float | None


def read_siblings(connection: Connection, group: str) -> list[Sibling]:
    """The cells of a group, by seed."""
    query = select(CellRow.label, CellRow.seed, CellRow.state, ResultRow.source, ResultRow.value)
    query = query.join(ResultRow, ResultRow.label == CellRow.label, isouter=True)
    query = query.where(CellRow.group == group).order_by(CellRow.seed, ResultRow.source)
    return [Sibling(*row) for row in connection.execute(query)]


def read_graph(connection: Connection, key: str) -> dict[str, StageInfo]:
    """Every recorded stage that the stage `key` needs and itself, by key; the stage first."""
    stages: dict[str, StageInfo] = {}
    wanted = [key]
    while wanted:
        level = {s.key: s for s in _read_stages(connection, wanted)}
        stages |= level
        wanted = list(
            dict.fromkeys(k for s in level.values() for k in s.inputs.values() if k not in stages)
        )
    return stages


def _read_stages(connection: Connection, keys: Iterable[str]) -> list[StageInfo]:
    stages = []
    for some in split_in_parts(keys):
        query = select(StageRow.__table__, ProvenanceRow.record)
        query = query.join(ProvenanceRow, ProvenanceRow.stage_key == StageRow.key, isouter=True)
        for row in connection.execute(query.where(StageRow.key.in_(some))).mappings():
            fields = {n: row[n] for n in StageInfo.__dataclass_fields__ if n != "provenance"}
            stages.append(StageInfo(**fields, provenance=row["record"] or {}))
    return stages


def code_state(stage: StageInfo) -> str:
    """ "current", "changed" since the stage was made, or "unknown"."""
    return code_states([stage])[stage.key]


def code_states(stages: Iterable[StageInfo]) -> dict[str, str]:
    """`code_state` of each stage by its key; files are read once for all of them."""
    code = Code()
    return {s.key: code.state(s.runner, s.kind, s.name, s.params, s.source_digest) for s in stages}


def find_changed(connection: Connection) -> frozenset[str]:
    """Keys of every stage (and so labels of every cell) whose own code, or that of one of its
    inputs, has changed since it was made."""
    with collector_off():
        return _find_changed(connection)


def _find_changed(connection: Connection) -> frozenset[str]:
    changed = _find_changed_stages(connection)
    if not changed:
        return frozenset()
    needed_by: dict[str, list[str]] = {}
    for key, inputs in _inputs(connection).items():
        for child in inputs:
            needed_by.setdefault(child, []).append(key)
    reached, waiting = set(changed), list(changed)
    while waiting:
        for key in needed_by.get(waiting.pop(), ()):
            if key not in reached:
                reached.add(key)
                waiting.append(key)
    return frozenset(reached)


def changed_behind(connection: Connection, labels: Iterable[str]) -> tuple[list[str], list[str]]:
    """(those of the cells `labels` that other code than today's went into, "kind/name" of the
    stages that it made)."""
    with collector_off():
        changed = _find_changed_stages(connection)
        inputs = _inputs(connection) if changed else {}
    cells: list[str] = []
    guilty: dict[str, None] = {}
    for label in labels if changed else ():
        behind = _reach(label, inputs) & changed
        cells += [label] * bool(behind)
        guilty.update(dict.fromkeys(sorted(behind)))
    names: dict[str, None] = {}
    for some in split_in_parts(guilty):
        query = select(StageRow.kind, StageRow.name).where(StageRow.key.in_(some)).distinct()
        names.update((f"{kind}/{name}", None) for kind, name in connection.execute(query))
    return cells, sorted(names)


def _reach(key: str, inputs: Mapping[str, list[str]]) -> set[str]:
    """The stage `key` and every stage it needs."""
    reached, waiting = {key}, [key]
    while waiting:
        fresh = set(inputs.get(waiting.pop(), ())) - reached
        reached |= fresh
        waiting += fresh
    return reached


def _inputs(connection: Connection) -> dict[str, list[str]]:
    """The keys of the inputs of every stage."""
    query = select(StageRow.key, cast(StageRow.inputs, String))
    return {key: KEY.findall(text) for key, text in connection.execute(query).fetchall()}


def _find_changed_stages(connection: Connection) -> set[str]:
    """Stages made by code whose digest is another today. Stages of one kind, name and digest were
    made by the same files, so that one of them stands for all."""
    code = Code()
    columns = StageRow.kind, StageRow.name, StageRow.runner, StageRow.source_digest
    known = select(*columns, StageRow.key).where(
        StageRow.source_digest != "", StageRow.runner != ""
    )
    groups: dict[tuple[str, ...], list[str]] = {}
    for *alike, key in connection.execute(known).fetchall():
        groups.setdefault(tuple(alike), []).append(key)
    changed: set[str] = set()
    for (kind, name, runner, recorded), keys in groups.items():
        params = connection.execute(
            select(StageRow.params).where(StageRow.key == keys[0])
        ).scalar()
        if code.state(runner, kind, name, params or {}, recorded) == "changed":
            changed.update(keys)
    return changed
