"""The cells behind one number of a board: every seed, what they have together, what they cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, select

from bench.contracts.task import DEAD
from bench.core.statistics import Summary, is_number, summarise
from bench.results.db.models import CellRow, MetricRow, ResultRow
from bench.results.db.records import StoredCell
from bench.results.views.lineage import StageInfo, find_cell, read_graph


@dataclass(frozen=True)
class GroupSeed:
    """A cell of a group: how it ended, its metrics (none without a result), and the seconds that
    its own stages took (None where they are not recorded)."""

    label: str
    seed: int
    state: str
    reason: str
    metrics: Mapping[str, float]
    seconds: float | None


@dataclass(frozen=True)
class Group:
    """All seeds of a combination from one source. `metrics`: their means, the headline first.
    `seconds`: of all of its stages, each counted once."""

    cell: StoredCell  # that with the lowest seed
    source: str
    headline: str
    seeds: tuple[GroupSeed, ...]
    metrics: Mapping[str, Summary]
    seconds: float | None
    devices: tuple[str, ...]
    dead: bool  # one of its networks is


def read_group(connection: Connection, prefix: str, source: str = "measured") -> Group | None:
    """The group of the cell whose label starts with `prefix`, with its results from `source`; None
    where there is no such cell."""
    info = find_cell(connection, prefix)
    if info is None:
        return None
    query = select(CellRow.__table__).where(CellRow.group == info.cell["group"])
    cells = connection.execute(query.order_by(CellRow.seed, CellRow.label)).mappings().all()
    headline, scores = _read_scores(connection, info.cell["group"], source)
    graphs = {cell["label"]: read_graph(connection, cell["label"]) for cell in cells}
    dead = any(DEAD in scores[label] for label in scores)
    seeds = tuple(
        GroupSeed(
            label=cell["label"],
            seed=cell["seed"],
            state=cell["state"],
            reason=cell["reason"] or "",
            metrics={k: v for k, v in scores.get(cell["label"], {}).items() if k != DEAD},
            seconds=_add_seconds(graphs[cell["label"]]),
        )
        for cell in cells
        if cell["label"] in scores or source == "measured"
    )
    every = {key: stage for graph in graphs.values() for key, stage in graph.items()}
    devices = dict.fromkeys(str(s.provenance.get("device", "")) for s in every.values())
    first: StoredCell = dict(cells[0])  # type: ignore[assignment]
    return Group(
        cell=first,
        source=source,
        headline=headline,
        seeds=seeds,
        metrics=_summarise(seeds, headline),
        seconds=_add_seconds(every),
        devices=tuple(device for device in devices if device),
        dead=dead,
    )


def _read_scores(
    connection: Connection, group: str, source: str
) -> tuple[str, dict[str, dict[str, float]]]:
    """(the headline metric, {label: {metric: value}}) of the results of a group from a source."""
    query = select(ResultRow.headline, ResultRow.label, MetricRow.name, MetricRow.value)
    query = query.join(CellRow, CellRow.label == ResultRow.label)
    query = query.join(MetricRow, MetricRow.result_id == ResultRow.id)
    query = query.where(CellRow.group == group, ResultRow.source == source)
    rows = connection.execute(query.order_by(MetricRow.position)).all()
    scores: dict[str, dict[str, float]] = {}
    for _, label, name, value in rows:
        if is_number(value):  # else it is damaged
            scores.setdefault(label, {})[name] = value
    return rows[0][0] if rows else "", scores


def _summarise(seeds: tuple[GroupSeed, ...], headline: str) -> dict[str, Summary]:
    values: dict[str, list[float]] = {headline: []} if headline else {}
    for seed in seeds:
        for name, value in seed.metrics.items():
            values.setdefault(name, []).append(value)
    return {name: summarise(each) for name, each in values.items() if each}


def _add_seconds(stages: Mapping[str, StageInfo]) -> float | None:
    took = [s.provenance["seconds"] for s in stages.values() if s.provenance.get("seconds")]
    took = [seconds for seconds in took if is_number(seconds)]
    return sum(took) if took else None
