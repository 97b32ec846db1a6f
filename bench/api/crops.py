"""Where every crop strategy crops, in numbers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
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
)
from bench.core.errors import BenchError

if TYPE_CHECKING:
    import pandas as pd

    from bench.core.params import Runtime
    from bench.core.progress import Progress
    from bench.core.stage import Stage
    from bench.launch.local import LocalEngine
    from bench.plan.cell import Cell

Objects = Literal["boxes", "masks"]


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

    Examples:
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
