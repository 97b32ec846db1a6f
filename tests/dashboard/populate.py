"""A results database of any size, filled with plausible numbers; and a few of its stages on disk.

`python -m tests.dashboard.populate HOME N` writes HOME/results.db with N results.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import random
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from bench.contracts.source import Code, component_names
from bench.core.statistics import summarise
from bench.results.db.database import Database, open_database
from bench.results.db.models import CellRow, MetricRow, ProvenanceRow, ResultRow, StageRow

METHODS = (
    "byol",
    "orl",
    "moco_v2",
    "simclr",
    "simsiam",
    "densecl",
    "swav",
    "soco",
    "ccop",
    "resim",
    "lewel",
    "cast",
    "self_emd",
    "mae",
    "cmc",
)
CROPS = (
    "image",
    "grid",
    "gt",
    "gt_pad",
    "coarse",
    "selective_search",
    "edge_boxes",
    "bing",
    "random",
    "multi",
    "obj_scene",
    "obj_obj_dilate",
)
COCO = ("AP_bbox", "AP50_bbox", "AP75_bbox", "AP_segm", "AP50_segm", "AP75_segm")
# headline first; engine; where its values lie
TASKS: dict[str, tuple[str, tuple[str, ...], str, float]] = {
    "coco_det": ("AP_bbox", COCO, "torchvision", 38.0),
    "voc07_svm": ("mAP", ("mAP",), "", 78.0),
    "knn": ("top1", ("top1", "top5"), "", 52.0),
    "cityscapes_seg": ("mIoU", ("mIoU", "mAcc", "aAcc"), "", 71.0),
    "voc0712_det": ("AP", ("AP", "AP50", "AP75"), "torchvision", 54.0),
    "imagenet_linear": ("top1", ("top1", "top5"), "", 62.0),
}
CHUNK = 20_000
Trial = tuple[dict[str, Any], list[float] | None]  # of a sweep: values, scores over seeds


def key(*parts: Any) -> str:
    """A key that looks like one."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


class Filler:
    """Rows for the tables, kept until there are enough for one insert."""

    def __init__(self, database: Database, home: Path | None = None) -> None:
        self.database, self.home = database, home
        self.rng = random.Random(0)
        self.rows: dict[Any, list[dict[str, Any]]] = {
            t: [] for t in (StageRow, ProvenanceRow, CellRow, ResultRow, MetricRow)
        }
        self.results = 0
        self.known: set[str] = set()
        self.code = Code()

    def flush(self) -> None:
        with self.database.engine.begin() as connection:
            for table, rows in self.rows.items():
                if rows:
                    connection.execute(insert(table), rows)
                rows.clear()

    def stage(
        self, kind: str, name: str, params: dict[str, Any], inputs: dict[str, str], seconds: float
    ) -> str:
        """A stage and its provenance; one in ten pretrainings was made by other code."""
        made = key(kind, name, params, inputs)
        if made in self.known:
            return made
        self.known.add(made)
        runner = {"data": "bench.data.runner:run"}.get(kind, f"bench.stages.{kind}:run")
        part = {"pretrain": "method", "evaluate": "task"}.get(kind, "")
        digest = self.code.digest_of(runner, component_names(kind, name, params))
        if kind == "pretrain" and part and int(made[:4], 16) % 10 == 0:
            digest = "ast1:" + "0" * 40
        folder = f"{kind}/{name}-{made[:12]}"
        record = {
            "commit": "0123456789abcdef0123456789abcdef01234567",
            "dirty": False,
            "python": "3.11.2",
            "packages": {"torch": "2.6.0", "numpy": "2.1.0"},
            "host": "node-7",
            "device": "A GPU",
            "cpus": 16,
            "started": "2026-01-02T03:04:05+00:00",
            "seconds": seconds,
            "peak_memory_mib": 2048,
            "arguments": ["run", "--method", name],
            "source_digest": digest,
            "tracker_url": None,
        }
        stage = {
            "key": made,
            "kind": kind,
            "name": name,
            "version": 1,
            "params": params,
            "inputs": inputs,
            "runner": runner,
        }
        self.rows[StageRow].append(
            {**stage, "folder": folder, "seconds": seconds, "source_digest": digest}
        )
        self.rows[ProvenanceRow].append({"stage_key": made, "record": record})
        if self.home:
            write_stage(self.home / "store" / folder, stage, record)
        return made

    def cell(
        self, method: str, crop: str, task: str, lr: float | None, seed: int, **how: Any
    ) -> None:
        """One cell with its stages and, if it is done, its result."""
        headline, names, engine, around = TASKS[task]
        scale, data = how.get("scale", "small"), how.get("data", "coco")
        state = how.get("state", "done")
        overrides = {} if lr is None else {f"{method}.lr": f"{lr:g}"}
        learner = {
            "name": method,
            "version": 1,
            "params": {"lr": lr or 0.03, "epochs": 200, "backbone": "resnet50"},
        }
        cropper = {"name": crop, "version": 1, "params": {"count": 5}}
        source = self.stage("data", data, {"fingerprint": "f" * 16}, {}, 3.0)
        target = self.stage("data", f"{task}_set", {"fingerprint": "e" * 16}, {}, 2.0)
        params = {"method": learner, "crop": cropper, "split": "train", "seed": seed}
        judge = {"task": {"name": task, "version": 1, "params": {"epochs": 12}}, "seed": seed}
        if state == "unsupported":
            label, pretraining, protocol, source, target = (
                key(method, crop, task, lr, seed),
                "",
                "",
                "",
                "",
            )
            group = key(method, crop, task, lr, "unsupported")
        else:
            backbone = self.stage("pretrain", method, params, {"data": source}, 3600.0 + seed)
            inputs = {"backbone": backbone, "data": target}
            if state == "done":
                label = self.stage("evaluate", task, judge, inputs, 600.0 + seed)
            else:
                label = key("evaluate", task, judge, inputs)
            pretraining, protocol = key(method, crop, lr, source), key(task, target)
            group = key(pretraining, protocol)
        sets = "".join(f" --set {k}={v}" for k, v in overrides.items())
        names_ = {
            "label": label,
            "method": method,
            "crop": crop,
            "task": task,
            "scale": scale,
            "pretrain_data": data,
            "pretrain_data_key": source,
            "task_data": f"{task}_set",
            "task_data_key": target,
            "engine": engine,
            "seed": seed,
            "overrides": overrides,
            "group": group,
            "pretraining": pretraining,
            "protocol": protocol,
            "command": f"bench run --method {method} --crop {crop} --task {task} --scale {scale}"
            f" --seeds {seed} --data {data} --task-data {task}_set{sets}",
        }
        self.rows[CellRow].append({**names_, "state": state, "reason": how.get("reason")})
        if state == "done":
            self.result(label, headline, names, self.value(method, crop, task, lr, seed, around))

    def value(
        self, method: str, crop: str, task: str, lr: float | None, seed: int, around: float
    ) -> float:
        """Between methods 3, between crops 2, between seeds .3."""
        total = around
        for what, spread in (((method, task), 3.0), ((crop, task), 2.0), ((lr, method), 1.0)):
            total += spread * (int(key(what)[:8], 16) / 2**32 - 0.5)
        return total + self.rng.gauss(0, 0.3)

    def result(self, label: str, headline: str, names: tuple[str, ...], value: float) -> None:
        self.results += 1
        found = {
            "id": self.results,
            "label": label,
            "source": "measured",
            "headline": headline,
            "value": value,
        }
        self.rows[ResultRow].append(found)
        for position, name in enumerate(names):
            shift = 18.0 if "50" in name else 3.0 * position
            self.rows[MetricRow].append(
                {
                    "result_id": self.results,
                    "name": name,
                    "value": value + shift,
                    "position": position,
                }
            )


def combinations(n: int) -> Iterator[tuple[str, str, float | None, int, str]]:
    """method, crop, lr, seed, task in an order that fills rows first, then settings."""
    seeds = range(3 if n < 5_000 else 5)
    per_setting = len(METHODS) * len(CROPS) * len(TASKS) * len(seeds)
    for setting in range(math.ceil(n / per_setting)):
        lr = None if setting == 0 else 0.001 * setting
        for method, crop, task, seed in itertools.product(METHODS, CROPS, TASKS, seeds):
            yield method, crop, lr, seed, task


def fill(url: str, n: int, home: Path | None = None) -> Database:
    """A database with `n` done cells and some in every other state."""
    database = open_database(url)
    filler = Filler(database, home)
    for at, (method, crop, lr, seed, task) in enumerate(itertools.islice(combinations(n), n)):
        filler.cell(method, crop, task, lr, seed)
        if at % CHUNK == CHUNK - 1:
            filler.flush()
    if n:
        states(filler)
    filler.flush()
    return database


def states(filler: Filler) -> None:
    """A row of cells in every state there is."""
    filler.cell("supervised", "image", "coco_det", None, 0)
    reason = "pretrain/supervised 0123456789ab failed: RuntimeError: out of memory"
    filler.cell("supervised", "image", "knn", None, 0, state="failed", reason=reason)
    filler.cell("supervised", "image", "voc07_svm", None, 0, state="running")
    reason = "supervised needs a label for every image, and crops of objects have none"
    filler.cell(
        "supervised", "image", "cityscapes_seg", None, 0, state="unsupported", reason=reason
    )
    filler.cell(
        "supervised",
        "image",
        "voc0712_det",
        None,
        0,
        state="interrupted",
        reason="stopped by the user",
    )
    filler.cell("byol", "image", "coco_det", None, 0, scale="tiny", data="scenes")


def sweep(url: str, name: str, trials: list[Trial], **how: Any) -> None:
    """A study as `bench sweep` leaves it: (values, scores) of its trials, None of one that failed.
    `spaces`: of settings that are ranges, {setting: (low, high, log)}; `won`: the number of the
    winner."""
    import optuna

    open_database(url)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(storage=url, study_name=name, direction="maximize")
    ranges, seeds = how.get("spaces", {}), range(how.get("seeds", 3))
    spaces, kinds = [], {}
    for setting in trials[0][0]:
        low, high, log = ranges.get(setting, (0.0, 0.0, False))
        values = [] if setting in ranges else list(dict.fromkeys(v[setting] for v, _ in trials))
        spaces.append({"name": setting, "values": values, "low": low, "high": high, "log": log})
        drawn = (
            optuna.distributions.FloatDistribution(low, high, log=log)
            if setting in ranges
            else None
        )
        kinds[setting] = drawn or optuna.distributions.CategoricalDistribution(values)
    what = {"method": "byol", "crop": "coarse", "task": "knn", "scale": "tiny"} | how.get(
        "cell", {}
    )
    setup = {
        "cells": [{**what, "seed": s} for s in seeds],
        "spaces": spaces,
        "headline": "top1",
        "holdout": 0.2,
        "sampler": "tpe" if ranges else "grid",
        "pruner": "none",
    }
    study.set_user_attr("bench.setup", setup)
    command = "bench run --method byol --crop coarse --task knn --scale tiny --seeds"
    for number, (values, scores) in enumerate(trials):
        sets = "".join(f" --set {k}={json.dumps(v)}" for k, v in values.items())
        attrs = {
            "values": values,
            "made": 4,
            "worker": "node-7:1:1",
            "scores": scores or [],
            "cells": [key(name, number, s) for s in seeds],
            "commands": [f"{command} {s}{sets}" for s in seeds],
        }
        if scores is None:
            attrs["reason"] = how.get("reason", "RuntimeError: out of memory")
        ended = (
            optuna.trial.TrialState.FAIL if scores is None else optuna.trial.TrialState.COMPLETE
        )
        mean = sum(scores) / len(scores) if scores else None
        study.add_trial(
            optuna.trial.create_trial(
                state=ended, value=mean, params=values, distributions=kinds, user_attrs=attrs
            )
        )
    if "won" in how:
        values, scores = trials[how["won"]]
        tests = [s - 1 for s in scores or []]
        made = {"cells": [key(name, "test", s) for s in seeds], "commands": [f"{command} 0"]}
        study.set_user_attr(
            "bench.winner", {"values": values, **made, "scores": tests, "test": summarise(tests)}
        )


def sweeps(url: str) -> None:
    """One setting with three seeds a trial, and three settings with one."""
    rng = random.Random(1)
    one: list[Trial] = [
        ({"coarse.n_crops": n}, [50 - 0.2 * (n - 5) ** 2 + rng.gauss(0, 0.6) for _ in range(3)])
        for n in (1, 2, 3, 5, 8, 10)
    ]
    sweep(url, "n_crops", one, won=3)
    many: list[Trial] = []
    for number in range(24):
        lr, delta, kind = (
            10 ** rng.uniform(-3, 0),
            rng.uniform(0, 0.3),
            rng.choice(["cosine", "step"]),
        )
        score = 52 - 3 * (math.log10(lr) + 1.2) ** 2 - 20 * (delta - 0.1) ** 2 + (kind == "cosine")
        scores = None if number == 7 else [score + rng.gauss(0, 0.3)]
        many.append(
            (
                {"byol.lr": round(lr, 4), "ccop.delta": round(delta, 3), "byol.schedule": kind},
                scores,
            )
        )
    spaces = {"byol.lr": (0.001, 1.0, True), "ccop.delta": (0.0, 0.3, False)}
    sweep(url, "three settings", many, spaces=spaces, seeds=1)


def paper_cells(database: Database, name: str, scale: str = "tiny", seeds: int = 3) -> None:
    """What a paper's table needs, as if `bench table run` had made it, but for the last cell: half
    of each reported number, and noise."""
    from bench.core.stage import Stage
    from bench.plan.cell import PlannedCell
    from bench.plan.options import default_task_data
    from bench.results.db.result_file import describe_cell
    from bench.results.papers.tables import load_table

    table, rng = load_table(name), random.Random(2)
    values, metrics = table.values(), {c.name: c.metric for c in table.columns}
    found: dict[Any, dict[str, float]] = {}
    for cell, places in table.cells(scale).items():
        for place in places:
            found.setdefault(cell, {})[metrics[place[1]]] = values[place].value
    for cell, around in list(found.items())[:-1]:
        for seed in range(seeds):
            mine = replace(cell, seed=seed, task_data=default_task_data(cell.task, scale))
            final = Stage("evaluate", cell.task, 1, {"seed": seed, "cell": repr(cell)}, "x:y")
            numbers = {m: v * 0.5 + rng.gauss(0, 0.4) for m, v in around.items()}
            record = {
                "cell": describe_cell(PlannedCell(mine, final, "")),
                "headline": next(iter(numbers)),
            }
            database.record_result({**record, "metrics": numbers, "order": list(numbers)})


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))


def write_stage(folder: Path, stage: dict[str, Any], provenance: dict[str, Any]) -> None:
    """The stage's folder as a run leaves it, less the heavy files."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "stage.json", stage)
    write_json(folder / "provenance.json", provenance)
    if stage["kind"] == "pretrain":
        rows = [
            {
                "step": s,
                "loss": 4 / (1 + s / 200),
                "lr": 0.03 * (1 - s / 1000),
                "images_per_second": 900.0,
            }
            for s in range(0, 1000, 5)
        ]
        (folder / "history.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
        summary = {
            "steps": 1000,
            "epochs": 200,
            "samples": 256_000,
            "images_per_second": 900.0,
            "device": "cuda",
        }
        write_json(folder / "summary.json", summary)
    if stage["kind"] == "evaluate":
        ap = {name: 30.0 + i for i, name in enumerate(("cat", "dog", "person", "car"))}
        by_metric = {name: {"AP": value, "AP50": value + 20} for name, value in ap.items()}
        by_kind = {"bbox": ap, "segm": {name: value - 3 for name, value in ap.items()}}
        write_json(
            folder / "per_class.json", by_kind if stage["name"] == "coco_det" else by_metric
        )


if __name__ == "__main__":
    where = Path(sys.argv[1])
    fill(f"sqlite:///{where / 'results.db'}", int(sys.argv[2]))
