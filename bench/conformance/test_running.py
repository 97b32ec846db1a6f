"""A task's `run` on an untrained network, and a set's `run` and `open_split`: they return what
they declare."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.conformance.support import chosen_names, make_engine, make_runtime, parse_places
from bench.contracts import registry
from bench.contracts.images import ImageSet
from bench.core.errors import BadData
from bench.plan.cell import Cell
from bench.plan.planner import make_plan

FEW = {"n_train": "40", "n_val": "12"}  # scenes, where the set is generated
LIGHT = {  # a task's settings, where it has them, cut down so that its run takes seconds
    "steps": "2",
    "epochs": "1",
    "warmup": "0",
    "k": "5",
    "ks": "1",
    "resize": "32",
    "image_size": "32",
}


@pytest.mark.parametrize("name", chosen_names("task"))
def test_a_task_returns_the_metrics_it_declares(name: str, common_folder: Path) -> None:
    """Finite ones, the headline among them, each with a description; twice the same."""
    task: Any = registry.load("task", name)
    wanted = task.data.get("tiny") or task.data.get("") or "scenes"
    sets = {f"{s}.{k}": v for s in ("scenes", wanted) for k, v in FEW.items() if _has(s, k)}
    sets |= {f"{name}.{k}": v for k, v in LIGHT.items() if k in task.Params.model_fields}
    cell = Cell("random_init", "image", name, "scenes", wanted, "tiny", 0, tuple(sets.items()))
    runtime = make_runtime(common_folder / "home")
    [planned] = make_plan([cell], runtime, dict(parse_places())).cells
    if planned.final is None:
        pytest.skip(f"{planned.unsupported}")
    assert planned.final is not None  # for a type checker without pytest
    engine = make_engine(runtime)
    metrics = json.loads((engine.ensure(planned.final) / "metrics.json").read_text())
    metrics.pop("dead", None)
    assert task.headline in metrics
    assert set(metrics) <= set(task.metrics), "every metric has a description"
    assert all(np.isfinite(value) for value in metrics.values())


def _has(data: str, field: str) -> bool:
    return field in registry.load("data", data).Params.model_fields


@pytest.mark.parametrize("name", chosen_names("data"))
def test_a_set_opens_the_images_that_it_indexed(name: str, common_folder: Path) -> None:
    """Each split has images with unique ids and the size that is declared; objects lie inside."""
    cls: Any = registry.load("data", name)
    settings = dict([text.split("=") for text in cls.sample_settings])
    if not cls.needs_path:
        settings |= {k: v for k, v in FEW.items() if _has(name, k)}
    data: Any = cls.resolve("tiny", settings)
    place = parse_places().get(name)
    write = cls.sample()
    if place is None and cls.needs_path:
        if write is None:
            pytest.skip(f"no sample; give its folder: bench check data:{name} --data {name}=PATH")
        place = common_folder / "samples" / name
        write(place, 12, 6, 0)
    runtime = make_runtime(common_folder / "home")
    stage = data.stage(place, runtime)
    again = data.stage(place, runtime)
    assert stage.key == again.key
    engine = make_engine(runtime)
    folder = engine.ensure(stage)
    opened = 0
    for split in data.splits:
        with suppress(BadData):  # the folder lacks a split, as of many sets that are trained on
            images = data.load(folder, runtime.roots[stage.key], split)
            opened += 1
            _check_split(images)
    assert opened, f"one of {data.splits}"


def _check_split(images: ImageSet) -> None:
    assert len(images) == len(images.ids) == len(images.sizes) > 0
    assert len(set(images.ids.tolist())) == len(images)
    for at in sorted({0, len(images) // 2, len(images) - 1}):
        pixels = images.image(at)
        assert pixels.dtype == np.uint8
        assert pixels.shape == (images.sizes[at][1], images.sizes[at][0], 3)
        with suppress(BadData):  # a set without annotations
            _check_objects(images, at)


def _check_objects(images: ImageSet, at: int) -> None:
    objects = images.objects(at)
    boxes = objects.boxes
    assert len(boxes) == len(objects.labels) == len(objects.ids)
    assert all(label < len(images.classes) for label in objects.labels)
    assert (boxes >= 0).all()
    assert (boxes <= np.tile(images.sizes[at], 2)).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()
