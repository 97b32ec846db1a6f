"""What each crop holds of objects, and how well networks do that learned from it: points, as plain
rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple, TypedDict, cast

from sqlalchemy import Connection, func, select

from bench.results.db.models import CellRow, CropRow, ResultRow, StageRow
from bench.results.db.queries import read_rows, select_heads, split_in_parts
from bench.results.db.records import CropRecord, LeaderboardRow
from bench.results.papers.reported import Value
from bench.results.views.stage_files import read_summary

OBJECTNESS = "objectness_pct"  # the metric under which papers report it
REPORTED = "reported"  # source of results that are copied from papers


class Topic(NamedTuple):
    """Results that may share a plot."""

    scale: str
    data: str
    task: str
    results: int


@dataclass(frozen=True)
class Point:
    """A crop: mean objectness and a metric, percent, with half-widths of 95 % intervals (None:
    unknown). `size`: what its pretraining cost, or None; `n`: results behind `y`."""

    method: str
    crop: str
    label: str
    x: float
    x_ci: float | None
    y: float
    y_ci: float | None
    n: int = 1
    size: float | None = None
    seeds: tuple[int, ...] = ()
    cell: str = ""  # label of one of its cells, "" where it was reported


class MeasuredCrop(CropRecord):
    """A crop's statistics, and what they were computed from."""

    inputs: dict[str, str]  # stages by role
    seeds: int | None  # epochs of crops that were drawn


def read_statistics(connection: Connection) -> list[MeasuredCrop]:
    """Every crop's statistics."""
    names = [c.key for c in CropRow.__table__.columns]
    query = select(
        *(CropRow.__table__.c[n] for n in names),
        StageRow.inputs,
        StageRow.params["seeds"].as_integer(),
    )
    query = query.join(StageRow, StageRow.key == CropRow.stage_key).order_by(
        CropRow.crop, CropRow.stage_key
    )
    return [
        cast("MeasuredCrop", dict(zip([*names, "inputs", "seeds"], row, strict=True)))
        for row in connection.execute(query)
    ]


def list_topics(connection: Connection) -> list[Topic]:
    """Tasks that have results by crops whose objectness was measured, most results first."""
    query = select(CellRow.scale, CellRow.pretrain_data, CellRow.task, func.count(CellRow.label))
    query = query.join(ResultRow, ResultRow.label == CellRow.label).where(
        ResultRow.source != REPORTED
    )
    query = query.where(CellRow.pretrain_data_key.in_(select(CropRow.data_key)))
    rows = connection.execute(query.group_by(CellRow.scale, CellRow.pretrain_data, CellRow.task))
    return sorted((Topic(*row) for row in rows), key=lambda t: (-t.results, t))


def read_topic(connection: Connection, topic: Topic) -> list[LeaderboardRow]:
    """The leaderboard rows of a topic under the evaluation settings that most of them share."""
    where = {"scale": [topic.scale], "pretrain_data": [topic.data], "task": [topic.task]}
    rows = [
        r
        for r in read_rows(connection, select_heads(connection, where))
        if r["source"] != REPORTED
    ]
    protocols: dict[str, str] = {}
    for labels in split_in_parts(r["cells"][0] for r in rows):
        query = select(CellRow.label, CellRow.protocol, CellRow.task_data, CellRow.engine)
        for label, *how in connection.execute(query.where(CellRow.label.in_(labels))):
            protocols[label] = json.dumps(how)
    counts = [protocols[r["cells"][0]] for r in rows]
    usual = max(counts, key=counts.count, default="")
    return [r for r, how in zip(rows, counts, strict=True) if how == usual]


def list_metrics(rows: Sequence[LeaderboardRow]) -> list[str]:
    """The metrics of rows, the headline first."""
    names = [r["headline"] for r in rows] + [m for r in rows for m in r["metrics"]]
    return list(dict.fromkeys(names))


def read_points(
    connection: Connection,
    home: Path,
    rows: Sequence[LeaderboardRow],
    metric: str,
    objects: str = "boxes",
    size: str = "steps",
) -> list[Point]:
    """A point for every row whose crop's objectness was measured on the very data, settings and
    proposals that it learned from.

    objects: "boxes" or "masks". size: "steps" of the pretraining, "time" (seconds) or "none".
    """
    crops = [
        s for s in read_statistics(connection) if s["source"] == objects and s["split"] == "train"
    ]
    trained = _read_pretrainings(connection, [label for r in rows for label in r["cells"]])
    points, settings = [], []
    for row in rows:
        stages = [trained[label] for label in row["cells"] if label in trained]
        mine = [s for s in crops if any(_is_same_crop(s, stage) for stage in stages)]
        if metric not in row["metrics"] or not mine or row["dead"]:
            continue
        best = max(mine, key=lambda s: (s["seeds"] or 0, s["stage_key"]))["stats"]["objectness"]
        if best["mean"] is None:
            continue
        value, costs = row["metrics"][metric], [_read_cost(s, home, size) for s in stages]
        known = [c for c in costs if c is not None]
        point = Point(
            method=row["method"],
            crop=row["crop"],
            label=row["crop"],
            x=100 * best["mean"],
            x_ci=None if best["ci95"] is None else 100 * best["ci95"],
            y=value["mean"],
            y_ci=value["ci95"],
            n=value["n"],
            size=fmean(known) if known else None,
            seeds=tuple(row["seeds"]),
            cell=row["cells"][0],
        )
        points.append(point)
        overrides = row["overrides"].items()
        settings.append(" ".join(f"{k.rpartition('.')[2]}={v}" for k, v in overrides))
    return _tell_apart(points, settings)


def _tell_apart(points: Sequence[Point], settings: Sequence[str]) -> list[Point]:
    """Points of one method and crop get the settings in which they differ into their labels."""
    labelled = []
    for point, own in zip(points, settings, strict=True):
        others = [
            set(t.split())
            for p, t in zip(points, settings, strict=True)
            if (p.method, p.crop) == (point.method, point.crop)
        ]
        words = [w for w in own.split() if not all(w in o for o in others)]
        labelled.append(replace(point, label=" ".join([point.crop, *words])))
    return labelled


class Pretraining(NamedTuple):
    """The pretraining stage of a cell."""

    key: str
    params: Mapping[str, Any]
    inputs: Mapping[str, str]
    folder: str  # relative to the store
    seconds: float | None


def _read_pretrainings(connection: Connection, labels: Sequence[str]) -> dict[str, Pretraining]:
    """Each cell's pretraining stage, by the cell's label."""
    backbone: dict[str, str] = {}
    for some in split_in_parts(dict.fromkeys(labels)):
        for label, inputs in connection.execute(
            select(StageRow.key, StageRow.inputs).where(StageRow.key.in_(some))
        ):
            if "backbone" in inputs:
                backbone[label] = inputs["backbone"]
    stages: dict[str, Pretraining] = {}
    columns = StageRow.key, StageRow.params, StageRow.inputs, StageRow.folder, StageRow.seconds
    for some in split_in_parts(dict.fromkeys(backbone.values())):
        for row in connection.execute(select(*columns).where(StageRow.key.in_(some))):
            stages[row.key] = Pretraining(*row)
    return {label: stages[key] for label, key in backbone.items() if key in stages}


def _is_same_crop(statistic: MeasuredCrop, stage: Pretraining) -> bool:
    """Whether the pretraining's crop, its data and what it was made from are those of the
    statistics."""
    crop = stage.params.get("crop", {})
    return (
        crop.get("name") == statistic["crop"]
        and crop.get("params") == statistic["params"]
        and all(stage.inputs.get(role) == key for role, key in statistic["inputs"].items())
    )


def _read_cost(stage: Pretraining, home: Path, size: str) -> float | None:
    if size == "time":
        return stage.seconds
    if size != "steps":
        return None
    steps = read_summary(home / "store" / stage.folder).get("steps")
    return float(steps) if isinstance(steps, int | float) else None


def reported_points(
    values: Iterable[Value], task: str = "", metric: str = ""
) -> tuple[str, str, list[Point]]:
    """(task, metric, a point for each row) of a table that prints objectness beside results, in
    percent.

    task: words of the paper's name of it; the first column with points that fits is taken.
    """
    columns: dict[tuple[str, str], list[Point]] = {}
    every = list(values)
    x = {(v.paper, v.table, v.row_label): v.value for v in every if v.metric == OBJECTNESS}
    for v in every:
        row = (v.paper, v.table, v.row_label)
        if row in x and v.metric != OBJECTNESS:
            point = Point(v.method, v.crop, v.crop, x[row], None, v.value, None)
            columns.setdefault((v.task, v.metric), []).append(point)
    for (name, column), points in columns.items():
        if metric in ("", column) and all(word in name.lower() for word in task.lower().split()):
            return name, column, points
    return "", "", []


class CropShares(TypedDict):
    """The means of a crop's statistics, shares of 1."""

    label: str
    poor: float | None
    coarse: float | None
    precise: float | None
    objectness: float


def read_shares(
    connection: Connection, data: str = "", crop: str = "*", objects: str = "boxes"
) -> tuple[str, list[CropShares]]:
    """(data set, the shares of each crop), the emptiest crop first.

    `data` is a data set's name, by default that with most crops; `crop` is a pattern, or several
    separated by commas.
    """
    crops = [
        s
        for s in read_statistics(connection)
        if s["source"] == objects
        and any(fnmatch(s["crop"], p.strip()) for p in crop.split(","))
        and s["stats"]["objectness"]["mean"] is not None
    ]
    sets = [(s["data"], s["split"], s["data_key"]) for s in crops if data in ("", s["data"])]
    if not sets:
        return data, []
    shown = max(sets, key=sets.count)
    mine = [s for s in crops if (s["data"], s["split"], s["data_key"]) == shown]
    newest = {(s["crop"], _as_text(s["params"]), _as_text(s["inputs"])): s for s in mine}
    others = list(newest.values())
    rows = [_list_shares(s, _make_label(s, others)) for s in others]
    return f"{shown[0]} {shown[1]}", sorted(rows, key=lambda r: r["objectness"])


def _list_shares(statistic: MeasuredCrop, label: str) -> CropShares:
    stats = statistic["stats"]
    objectness = stats["objectness"]["mean"]
    assert objectness is not None  # crops without regions have no shares
    return {
        "label": label,
        "poor": stats["poor"]["mean"],
        "coarse": stats["coarse"]["mean"],
        "precise": stats["precise"]["mean"],
        "objectness": objectness,
    }


def _as_text(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True)


def _make_label(statistic: MeasuredCrop, others: Sequence[MeasuredCrop]) -> str:
    """The crop's name, and the settings and inputs in which others of that name differ."""
    alike = [o for o in others if o["crop"] == statistic["crop"]]
    own = statistic["params"]
    words = [f"{k}={v}" for k, v in own.items() if any(o["params"].get(k) != v for o in alike)]
    same = [o for o in alike if o["params"] == own]
    if len(same) > 1:
        regions = [k[:6] for role, k in sorted(statistic["inputs"].items()) if role != "data"]
        words += regions
    return " ".join([statistic["crop"], *words])
