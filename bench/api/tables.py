"""What was measured, as pandas tables."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

from bench.api.request import (
    Names,
    RuntimeOptions,
    join_names,
    join_settings,
    make_runtime,
    open_progress,
    widen,
)
from bench.core.errors import BenchError

if TYPE_CHECKING:
    import pandas as pd

    from bench.core.params import Runtime
    from bench.core.progress import Progress
    from bench.core.stage import Stage
    from bench.launch.local import LocalEngine
    from bench.plan.cell import Cell
    from bench.results.db.database import Database
    from bench.results.db.records import LeaderboardRow

Objects = Literal["boxes", "masks"]
PLAIN = ("method", "crop", "task", "scale", "pretrain_data", "task_data", "engine")


def leaderboard(
    method: Names | None = None,
    crop: Names | None = None,
    task: Names | None = None,
    *,
    scale: Names | None = None,
    data: Names | None = None,
    validation: bool = False,
    limit: int | None = None,
) -> pd.DataFrame:
    """What was measured, the best headline metric first within a task, scale and data.

    A row is a cell without its seed. A metric is two columns: its mean over seeds, and NAME ci95,
    the half-width of the 95 % Student-t interval (missing for one seed). `mark` says of the
    headline metric whether the row is the best of its board, tied with it, worse, or unknown,
    among the rows returned; rows of different tasks, scales, engines or data share no board.

    method, crop, task, scale, data (of the pretraining): only these, as names or globs.
    validation: also what sweeps scored on a part of the training images. limit: rows of each
    board. Raises BadInput for a name that neither a component nor a result has.

    >>> len(bench.leaderboard(method="orl"))
    0
    """
    from bench.launch.session import open_runtime
    from bench.results.db.database import open_database

    database = open_database(open_runtime().database)
    rows, _ = read_board(database, (method, crop, task, scale, data), limit, validation)
    return frame_rows(rows)


Wanted = tuple[Names | None, Names | None, Names | None, Names | None, Names | None]


def read_board(
    database: Database, wanted: Wanted, limit: int | None, validation: bool = False
) -> tuple[list[LeaderboardRow], int]:
    """The best `limit` rows of every board (None: all) of the methods, crops, tasks, scales and
    data that the patterns stand for, and how many there are in all."""
    return database.read_best(limit, validation, **_make_filters(database, wanted))


def _make_filters(database: Database, wanted: Wanted) -> dict[str, list[str]]:
    columns = ("method", "crop", "task", "scale", "pretrain_data")
    texts = {c: join_names(w) for c, w in zip(columns, wanted, strict=True)}
    return {column: _match(database, column, text) for column, text in texts.items() if text}


def _match(database: Database, column: str, patterns: str) -> list[str]:
    """The names of a column of the results, or of components, that a comma list of names and globs
    stands for; BadInput names the nearest one where a pattern stands for none."""
    from bench.contracts import registry
    from bench.contracts.component import SCALES
    from bench.core.errors import unknown

    kind = "data" if column == "pretrain_data" else column
    known = set(SCALES) if kind == "scale" else set(registry.names(kind))
    known |= database.read_names(column)
    matches: list[str] = []
    for pattern in filter(None, (each.strip() for each in str(widen(patterns)).split(","))):
        hits = [pattern] if pattern in known else fnmatch.filter(sorted(known), pattern)
        if not hits:
            raise unknown(kind, pattern, known, "bench leaderboard")
        matches += hits
    return matches


def frame_rows(rows: Sequence[LeaderboardRow]) -> pd.DataFrame:
    """Rows of the leaderboard as a table (see `leaderboard`)."""
    import pandas as pd

    marks = _mark_headlines(rows)
    lines: list[dict[str, Any]] = []
    for row, mark in zip(rows, marks, strict=True):
        line: dict[str, Any] = {name: row[name] for name in PLAIN}  # type: ignore[literal-required]
        line["overrides"] = " ".join(f"{k}={v}" for k, v in row["overrides"].items())
        line |= {"source": row["source"], "dead": row["dead"], "seeds": len(row["seeds"])}
        line |= {"headline": row["headline"], "mark": mark}
        for name, metric in row["metrics"].items():
            line[name], line[f"{name} ci95"] = metric["mean"], metric["ci95"]
        lines.append(line)
    first = [*PLAIN, "overrides", "source", "dead", "seeds", "headline", "mark"]
    return pd.DataFrame(lines, columns=None if lines else first)


def _mark_headlines(rows: Sequence[LeaderboardRow]) -> list[str]:
    """Of each row, how its headline metric stands in its board."""
    from bench.results.views.labels import board_of
    from bench.results.views.marks import mark_column

    marks = ["unknown"] * len(rows)
    boards: dict[tuple[str, ...], list[int]] = {}
    for at, row in enumerate(rows):
        if row["headline"] in row["scores"] and not row["dead"]:
            boards.setdefault(board_of(row), []).append(at)
    for members in boards.values():
        column = mark_column([rows[at]["scores"][rows[at]["headline"]] for at in members])
        for at, mark in zip(members, column, strict=True):
            marks[at] = mark
    return marks


def results(
    method: Names | None = None,
    crop: Names | None = None,
    task: Names | None = None,
    *,
    scale: Names | None = None,
    data: Names | None = None,
) -> pd.DataFrame:
    """Every result as it was measured or imported: a row for each cell and seed.

    Columns: what the cell is, its seed, settings, source ("measured" or "imported") and key, then
    every metric. The arguments are those of `leaderboard`.

    >>> list(bench.results().columns)[:4]
    ['method', 'crop', 'task', 'scale']
    """
    import pandas as pd

    from bench.launch.session import open_runtime
    from bench.results.db.database import open_database

    database = open_database(open_runtime().database)
    filters = _make_filters(database, (method, crop, task, scale, data))
    lines: list[dict[str, Any]] = []
    for result in database.iterate_results():
        cell: Mapping[str, Any] = result["cell"]
        if all(cell[column] in names for column, names in filters.items()):
            line = {name: cell[name] for name in (*PLAIN, "seed")}
            line["overrides"] = " ".join(f"{k}={v}" for k, v in cell["overrides"].items())
            line |= {"source": result.get("source", ""), "key": cell["label"]}
            lines.append(line | {name: result["metrics"][name] for name in result["order"]})
    first = [*PLAIN, "seed", "overrides", "source", "key"]
    return pd.DataFrame(lines, columns=None if lines else first)


class CropRow(TypedDict):
    """The statistics of a crop strategy, of `stats.json` of its stage; `params` are its
    settings."""

    crop: str
    data: str
    split: str
    stage: str
    source: str
    params: Mapping[str, Any]
    stats: dict[str, Any]


@dataclass
class CropStatistics:
    """The statistics of crop strategies, and why others have none: error -> strategies."""

    rows: list[CropRow] = field(default_factory=list)
    failed: dict[str, list[str]] = field(default_factory=dict)
    errors: list[BenchError] = field(default_factory=list)


def crop_stats(
    crop: Names = "all",
    data: str = "scenes",
    *,
    split: str = "train",
    objects: Objects = "boxes",
    epochs: int = 1,
    image_objectness: float | None = None,
    scale: str = "tiny",
    set: Mapping[str, Any] | None = None,
    progress: bool | Progress = True,
    **runtime: Unpack[RuntimeOptions],
) -> pd.DataFrame:
    """Where every crop strategy crops, in numbers: a row for each, shares from 0 to 1.

    A mean over crops is two columns, NAME and NAME ci95, the half-width of the 95 % interval over
    images: `objectness` (the share of a crop's pixels that belong to objects), `poor` (crops below
    20 %), `precise` (over 80 %), `coverage` (objects of which one crop holds at least half), ...

    objects: what counts as the pixels of an object. epochs: how many epochs crops are drawn for.
    image_objectness: weigh the images so that their own mean objectness is this (percent).

    Raises the first strategy's error where none could be measured; strategies that cannot be
    measured are left out, with a warning.

    >>> few = {"scenes.n_train": 12, "scenes.n_val": 4}
    >>> table = bench.crop_stats("image,gt", set=few, workers=0, progress=False)
    >>> list(table.sort_values("objectness")["crop"])
    ['image', 'gt']
    """
    import warnings

    import pandas as pd

    made = measure_crops(
        str(join_names(crop)),
        data,
        split,
        objects,
        epochs,
        image_objectness,
        scale,
        join_settings(set),
        make_runtime(runtime),
        lambda line: warnings.warn(line, stacklevel=2),
        progress,
    )
    if made.errors and not made.rows:
        raise made.errors[0]
    for reason, names in made.failed.items():
        warnings.warn(f"{', '.join(names)}: {reason}", stacklevel=2)
    return pd.DataFrame([_flatten_stats(row) for row in made.rows])


def _flatten_stats(row: CropRow) -> dict[str, Any]:
    line: dict[str, Any] = {
        name: row[name]  # type: ignore[literal-required]
        for name in ("crop", "data", "split", "source", "stage")
    }
    for name, value in row["stats"].items():
        if isinstance(value, dict) and "mean" in value:
            line[name], line[f"{name} ci95"] = value["mean"], value["ci95"]
        elif not isinstance(value, dict):
            line[name] = value
    return line


def measure_crops(
    crop: str,
    data: str,
    split: str,
    objects: str,
    epochs: int,
    image_objectness: float | None,
    scale: str,
    sets: tuple[str, ...],
    runtime: Runtime,
    note: Callable[[str], None],
    progress: bool | Progress = True,
) -> CropStatistics:
    """The statistics of every strategy (names and globs, or all), each a stage of the store."""
    from bench.launch.session import open_engine
    from bench.plan.planner import plan_each
    from bench.plan.product import make_crop_cells

    cells, paths = make_crop_cells(crop, data, scale, sets, note)
    planned = plan_each(cells, runtime, paths, lambda p: p.crop_stats(objects, epochs), split)
    made = CropStatistics()
    with open_engine(runtime, open_progress(progress)) as (engine, _):
        for cell, stage in planned:
            try:
                made.rows.append(_read_statistics(engine, cell, stage, image_objectness))
            except BenchError as error:
                made.failed.setdefault(str(error), []).append(cell.crop)
                made.errors.append(error)
    return made


def _read_statistics(
    engine: LocalEngine, cell: Cell, stage: Stage, image_objectness: float | None
) -> CropRow:
    import numpy as np

    from bench.stages.crop_stats import tilt_to_objectness

    folder: Path = engine.ensure(stage)
    stats = json.loads((folder / "stats.json").read_text())
    for part in (stage.inputs["data"], stage):
        record_stage(engine, part)
    if image_objectness is not None:
        with np.load(folder / "per_image.npz") as per_image:
            stats = tilt_to_objectness(stats, per_image, image_objectness / 100)
    return {
        "crop": cell.crop,
        "data": cell.data,
        "split": stage.params["split"],
        "stage": stage.key,
        "source": stage.params["source"],
        "params": stage.params["crop"]["params"],
        "stats": stats,
    }


def record_stage(engine: LocalEngine, stage: Stage) -> None:
    """Tell the database of a stage, which may be reused and new to it."""
    from bench.core.records import read_provenance

    folder = engine.store.folder(stage)
    engine.listener.stage_done(stage, folder, read_provenance(folder))
