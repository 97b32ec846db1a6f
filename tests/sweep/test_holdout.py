"""Validation parts: the training images in two, by a rule, with no test image among them."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.contracts import registry
from bench.contracts.context import StageContext
from bench.contracts.data import choose_held_out
from bench.core.errors import BadData
from bench.core.stage import Stage
from bench.core.store import Store
from bench.launch.local import LocalEngine, Silent
from bench.launch.session import open_runtime
from bench.plan.cell import Cell, Plan
from bench.plan.planner import make_plan
from bench.results.db.database import open_database
from bench.results.db.result_file import describe_cell

CELL = Cell(
    "random_init",
    "image",
    "knn",
    "scenes",
    "scenes",
    "tiny",
    0,
    (("scenes.n_train", "30"), ("scenes.n_val", "10"), ("knn.k", "3")),
)
HELD = replace(CELL, overrides=(*CELL.overrides, ("task.holdout", "0.2")))


def test_rule_is_the_rank_of_a_hash() -> None:
    ids = np.array([5, 3, 900, 17, 1, 44, 60, 2, 8, 71])
    ranked = sorted(
        ids.tolist(), key=lambda i: hashlib.sha256(f"holdout {i}".encode()).hexdigest()
    )
    held = choose_held_out(ids, 0.3)
    assert set(ids[held]) == set(ranked[:3])
    order = np.random.default_rng(0).permutation(10)
    assert set(ids[order][choose_held_out(ids[order], 0.3)]) == set(ids[held])


@pytest.mark.parametrize(
    ("n", "share", "count"), [(2, 0.01, 1), (2, 0.5, 1), (3, 0.5, 2), (1000, 0.2, 200)]
)
def test_both_parts_have_an_image(n: int, share: float, count: int) -> None:
    assert choose_held_out(np.arange(n), share).sum() == count


def test_one_image_cannot_be_divided() -> None:
    with pytest.raises(BadData, match="cannot be divided"):
        choose_held_out(np.array([1]), 0.5)


def parts(final: Stage, engine: LocalEngine) -> dict[str, object]:
    folder = engine.ensure(final.inputs["data"])
    ctx = StageContext(final, Path(), {"data": folder}, engine.runtime)
    return {split: ctx.images("data", split) for split in ("train", "val")}


def test_parts_are_the_training_images_and_nothing_else() -> None:
    runtime = open_runtime()
    engine = LocalEngine(runtime, Store(runtime.home), Silent())
    plain, held = (make_plan([c], runtime, {}).cells[0].final for c in (CELL, HELD))
    assert plain is not None
    assert held is not None
    whole, mine = parts(plain, engine)["train"], parts(held, engine)
    train, val = mine["train"], mine["val"]
    assert sorted([*train.ids, *val.ids]) == sorted(whole.ids)  # type: ignore[attr-defined]
    assert len(val) == 6  # type: ignore[arg-type]
    assert not set(val.ids) & set(train.ids)  # type: ignore[attr-defined]
    again = pickle.loads(pickle.dumps(val))
    for i, number in enumerate(again.ids):
        at = int(np.flatnonzero(whole.ids == number)[0])  # type: ignore[attr-defined]
        np.testing.assert_array_equal(again.image(i), whole.image(at))  # type: ignore[attr-defined]
        np.testing.assert_array_equal(again.objects(i).boxes, whole.objects(at).boxes)  # type: ignore[attr-defined]
        np.testing.assert_array_equal(again.semantic(i), whole.semantic(at))  # type: ignore[attr-defined]
        assert tuple(again.sizes[i]) == tuple(whole.sizes[at])  # type: ignore[attr-defined]
    data = held.inputs["data"]
    source = Store(runtime.home).folder(data.inputs["data"]) / "index/train/ids.npy"
    assert (
        os.stat(source).st_ino
        == os.stat(Store(runtime.home).folder(data) / "index/train/ids.npy").st_ino
    )


@pytest.mark.parametrize("task", registry.names("task"))
def test_every_task_can_be_validated(task: str) -> None:
    """Its validation cell is another cell, its test cell has the key it had before."""
    cls = registry.load("task", task)
    assert cls.resolve("paper", {"holdout": 0.2}).identity()["params"]["holdout"] == 0.2
    assert "holdout" not in cls.resolve("paper").identity()["params"]
    data = "scenes_keypoints" if "keypoint" in task else "scenes"
    cell = replace(CELL, task=task, task_data=data, overrides=())
    plan = make_plan(
        [cell, replace(cell, overrides=(("task.holdout", "0.2"),))], open_runtime(), {}
    )
    finals = [c.final for c in plan.cells]
    if finals[0] is None:  # a ViT task and a ResNet
        return
    assert finals[1] is not None
    assert finals[0].key != finals[1].key
    assert finals[0].inputs["backbone"].key == finals[1].inputs["backbone"].key
    assert finals[1].inputs["data"].inputs["data"].key == finals[0].inputs["data"].key


def test_leaderboards_leave_validation_out(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'r.db'}")
    plan: Plan = make_plan([CELL, HELD], open_runtime(), {})
    for value, planned in zip((1.0, 99.0), plan.cells, strict=True):
        record = {
            "cell": describe_cell(planned),
            "headline": "top1",
            "metrics": {"top1": value},
            "order": ["top1"],
        }
        database.record_result(json.loads(json.dumps(record)))
    assert [r["metrics"]["top1"]["mean"] for r in database.read_rows()] == [1.0]
    assert len(database.read_rows(validation=True)) == 2
    (row,) = database.read_rows_of([plan.cells[1].final.key])  # type: ignore[union-attr]
    assert row["overrides"]["task.holdout"] == "0.2"
