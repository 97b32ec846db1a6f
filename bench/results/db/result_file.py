"""`result.json`: everything a leaderboard needs, in the folder of the stage that made it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from bench.core.errors import BadInput
from bench.core.files import write_json
from bench.core.params import digest
from bench.core.stage import Provenance, Stage, walk
from bench.plan.cell import PlannedCell
from bench.results.db.checked import SCHEMA, check_record
from bench.results.db.records import CellRecord, ResultRecord


def describe_cell(planned: PlannedCell) -> CellRecord:
    """The cell as plain data.

    `group` is a digest of the final stage with every `seed` of a training or an evaluation taken
    out. A cell without a final stage is labelled by its names.
    """
    cell, final = planned.cell, planned.final
    names = {
        "method": cell.method,
        "crop": cell.crop,
        "task": cell.task,
        "scale": cell.scale,
        "pretrain_data": cell.data,
        "task_data": cell.task_data,
        "engine": planned.engine,
        "seed": cell.seed,
        "overrides": dict(cell.overrides),
    }
    pretrain_data_key, task_data_key = _data_keys(final)
    pretraining, protocol = _row_and_column(final)
    return {
        "method": cell.method,
        "crop": cell.crop,
        "task": cell.task,
        "scale": cell.scale,
        "pretrain_data": cell.data,
        "task_data": cell.task_data,
        "engine": planned.engine,
        "seed": cell.seed,
        "overrides": dict(cell.overrides),
        "pretrain_data_key": pretrain_data_key,
        "task_data_key": task_data_key,
        "pretrain_name": cell.pretrain_name,
        "task_name": cell.task_name,
        "pretraining": pretraining,
        "protocol": protocol,
        "label": final.key if final else digest({**names, "unsupported": True}),
        "group": digest(_drop_seeds(final) if final else {**names, "seed": None}),
        "command": planned.command(),
    }


def _row_and_column(final: Stage | None) -> tuple[str, str]:
    """The cell's row and column on a board: digests of its seedless backbone, and of the rest of
    its final stage. "" where there is none."""
    backbone = final.inputs.get("backbone") if final else None
    if final is None or backbone is None:
        return "", ""
    return digest(_drop_seeds(backbone)), digest(_drop_seeds(final, without=backbone.key))


def _data_keys(final: Stage | None) -> tuple[str, str]:
    """The keys of the data that the cell learns from, and of those it is scored on."""
    if final is None:
        return "", ""
    backbone, data = final.inputs.get("backbone"), final.inputs.get("data")
    pretrain = backbone.inputs.get("data") if backbone else None
    return pretrain.key if pretrain else "", data.key if data else ""


def _drop_seeds(stage: Stage, without: str = "") -> dict[str, Any]:
    """The stage's identity without the seeds that a cell's seed sets (data and proposals keep
    theirs), and without the stage whose key is `without`."""
    if stage.key == without:
        return {}
    keeps = stage.kind in ("data", "proposals")
    params = {k: v for k, v in stage.params.items() if keeps or k != "seed"}
    return {
        "kind": stage.kind,
        "name": stage.name,
        "version": stage.version,
        "params": params,
        "inputs": {
            role: digest(_drop_seeds(child, without)) for role, child in stage.inputs.items()
        },
    }


def describe_result(
    planned: PlannedCell, stage: Stage, metrics: dict[str, float], provenance: Provenance
) -> ResultRecord:
    """The content of `result.json`; every metric must be a finite number."""
    from bench.contracts import registry

    bad = {
        n: v for n, v in metrics.items() if not isinstance(v, int | float) or not math.isfinite(v)
    }
    if bad or not metrics:
        raise BadInput(f"metrics must be finite numbers, {stage} gave {bad or 'none'}")
    task: Any = registry.load("task", planned.cell.task)
    order = [n for n in task.metrics if n in metrics] + sorted(set(metrics) - set(task.metrics))
    return {
        "schema": SCHEMA,
        "cell": describe_cell(planned),
        "headline": task.headline,
        "metrics": {n: float(metrics[n]) for n in order},
        "order": order,
        "stages": [s.key for s in walk(stage)],
        "seconds": provenance.get("seconds"),
    }


def write_result(folder: Path, record: ResultRecord) -> None:
    """Write `result.json` atomically."""
    write_json(folder / "result.json", record)


def read_result(folder: Path) -> ResultRecord:
    """Read and check `result.json`."""
    path = folder / "result.json"
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise BadInput(f"{path} cannot be read ({error}); try: bench run --force ...") from None
    return check_record(record, str(path))
