"""Points of the scatter from the results database and from the papers' tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.core.errors import BadInput
from bench.core.stage import Stage
from bench.figures import objectness, shares
from bench.plan.cell import Cell, PlannedCell
from bench.results.db.database import Database, open_database
from bench.results.db.result_file import describe_result
from bench.results.papers.reported import load_values
from bench.results.views.objectness import (
    list_metrics,
    list_topics,
    read_points,
    read_topic,
    reported_points,
)

DATA = Stage("data", "scenes", 1, {"fingerprint": "a"}, "x:y")
SHARES = {"poor": 0.25, "coarse": 0.5, "precise": 0.25}


def identity(crop: str, **params: Any) -> dict[str, Any]:
    return {"name": crop, "version": 1, "params": params}


def regions(crop: str, gamma: float = 0.25) -> dict[str, Stage]:
    maker = {
        "regions": Stage("proposals", "anchors_scda", 1, {"gamma": gamma}, "x:y", {"data": DATA})
    }
    return maker if crop == "coarse" else {}


def measure(
    database: Database, crop: str, mean: float, gamma: float = 0.25, **params: Any
) -> None:
    """The objectness of a crop: `mean` of 1, and its interval."""
    stage = Stage(
        "crop_stats",
        crop,
        1,
        {"crop": identity(crop, **params), "split": "train", "source": "boxes", "seeds": 1},
        "x:y",
        {"data": DATA, **regions(crop, gamma)},
    )
    for s in (DATA, *stage.inputs.values(), stage):
        database.record_stage(s.record(), f"{s.kind}/{s.name}-{s.short}", {"seconds": 1.0})
    stats = {
        n: {"mean": v, "ci95": 0.01, "n": 9} for n, v in {"objectness": mean, **SHARES}.items()
    }
    database.record_crop(stage.record(), stats)


def result(
    database: Database, home: Path, crop: str, values_: tuple[float, ...], **how: Any
) -> None:
    """A cell for each value, a seed each, whose pretraining took (seed + 1) x 100 steps."""
    method, gamma, task = how.pop("method", "byol"), how.pop("gamma", 0.25), how.pop("task", "knn")
    for seed, value in enumerate(values_):
        params = {
            "method": identity(method),
            "crop": identity(crop, **how),
            "split": "train",
            "seed": seed,
        }
        backbone = Stage(
            "pretrain", method, 1, params, "x:y", {"data": DATA, **regions(crop, gamma)}
        )
        final = Stage(
            "evaluate",
            task,
            1,
            {"task": identity(task), "seed": seed},
            "x:y",
            {"backbone": backbone, "data": DATA},
        )
        for s in (backbone, final):
            database.record_stage(
                s.record(), f"{s.kind}/{s.name}-{s.short}", {"seconds": 60.0 * (seed + 1)}
            )
        folder = home / "store" / f"pretrain/{method}-{backbone.short}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "summary.json").write_text(json.dumps({"steps": 100 * (seed + 1)}))
        overrides = tuple((f"{crop}.{k}", str(v)) for k, v in how.items())
        cell = Cell(method, crop, task, "scenes", "scenes", "tiny", seed, overrides)
        made = describe_result(
            PlannedCell(cell, final, ""), final, {"top1": value, "top5": value + 10}, {}
        )
        database.record_result(made)


@pytest.fixture
def database(home: Path) -> Database:
    home.mkdir(parents=True, exist_ok=True)
    found = open_database(f"sqlite:///{home / 'results.db'}")
    for crop, mean in (("image", 0.364), ("gt", 1.0), ("grid", 0.398), ("poor", 0.201)):
        measure(found, crop, mean)
    measure(found, "coarse", 0.526)
    result(found, home, "image", (50.0, 52.0))
    result(found, home, "gt", (40.0,))
    result(found, home, "grid", (55.0,))
    result(found, home, "coarse", (60.0,))
    return found


def test_points_join_a_result_with_the_objectness_of_its_crop(
    database: Database, home: Path
) -> None:
    with database.engine.connect() as connection:
        (topic,) = list_topics(connection)
        rows = read_topic(connection, topic)
        found = {p.crop: p for p in read_points(connection, home, rows, "top5", "boxes", "steps")}
        time = {
            p.crop: p.size for p in read_points(connection, home, rows, "top1", "boxes", "time")
        }
        assert read_points(connection, home, rows, "top1", "masks") == []
        assert read_points(connection, home, rows, "no such") == []
    assert topic == ("tiny", "scenes", "knn", 5)
    assert list_metrics(rows) == ["top1", "top5"]
    assert set(found) == {"image", "gt", "grid", "coarse"}, "poor has no result"
    image = found["image"]
    assert (image.x, image.x_ci, image.y, image.n) == pytest.approx((36.4, 1.0, 61.0, 2))
    assert image.y_ci == pytest.approx(12.706204736 * 2**0.5 / 2**0.5)  # t(.975, 1) x sd / sqrt(2)
    assert image.size == 150, "mean steps of its pretrainings"
    assert time["image"] == 90
    assert found["gt"].y_ci is None


def test_other_settings_or_other_proposals_are_another_crop(
    database: Database, home: Path
) -> None:
    result(database, home, "coarse", (61.0,), gamma=0.5, method="orl")  # made from other proposals
    result(database, home, "image", (70.0,), padding=8)  # other settings, not measured
    measure(database, "grid", 0.5, rows=3)
    result(database, home, "grid", (58.0,), rows=3)
    # the best one, first among the rows, not measured
    result(database, home, "grid", (99.0,), rows=4)
    with database.engine.connect() as connection:
        rows = read_topic(connection, list_topics(connection)[0])
        found = read_points(connection, home, rows, "top1")
    assert {(p.method, p.label, round(p.x, 9), p.y) for p in found} == {
        ("byol", "image", 36.4, 51.0),
        ("byol", "gt", 100.0, 40.0),
        ("byol", "grid", 39.8, 55.0),
        ("byol", "grid rows=3", 50.0, 58.0),
        ("byol", "coarse", 52.6, 60.0),
    }


def test_the_figure_takes_its_choices(database: Database, home: Path) -> None:
    with database.engine.connect() as connection:
        made = objectness.collect(
            connection, home, task="knn", metric="top5", source="measured", crop="g*,image"
        )
        (one,) = made["series"]
        assert one["y"] == "top5 of knn, %"
        assert [g["n"] for g in one["groups"]] == [3]
        with pytest.raises(BadInput, match="no metric 'mAP'; it has top1, top5"):
            objectness.collect(connection, home, task="knn", metric="mAP")
        with pytest.raises(BadInput, match="run first: bench run"):
            objectness.collect(connection, home, task="coco_det", source="measured")
        both = objectness.collect(connection, home)
    assert [s["title"][:8] for s in both["series"]] == ["measured", "reported"]
    objectness.draw(both)


def test_reported_points_are_table_2_of_paper_000() -> None:
    name, metric, points = reported_points(load_values())
    assert (name, metric) == ("VOC07 detection", "AP50_bbox")
    assert {(p.crop, p.x, p.y) for p in points} == {
        ("GT-Crop", 100.0, 66.9),
        ("GTpad-Crop", 48.2, 69.7),
        ("Poor-Crop", 20.1, 60.4),
        ("Image-Crop", 36.4, 63.3),
        ("Grid-Crop", 39.8, 68.1),
        ("Our-Crop", 52.6, 69.5),
    }
    assert {p.y for p in reported_points(load_values(), metric="mAP_l")[2]} >= {39.8, 42.5, 21.4}
    assert reported_points(load_values(), task="no such task")[2] == []


def test_shares_come_from_one_data_set_the_emptiest_crop_first(
    database: Database, home: Path
) -> None:
    with database.engine.connect() as connection:
        made = shares.collect(connection, home)
        assert [r["label"] for r in made["rows"]] == ["poor", "image", "grid", "coarse", "gt"]
        assert [r["precise"] for r in made["rows"]] == [0.25] * 5
        assert [r["label"] for r in shares.collect(connection, home, crop="g*")["rows"]] == [
            "grid",
            "gt",
        ]
        with pytest.raises(BadInput, match="run first: bench crops stats --data coco"):
            shares.collect(connection, home, data="coco")
    measure(database, "grid", 0.5, rows=3)
    measure(database, "coarse", 0.6, gamma=0.5)
    with database.engine.connect() as connection:
        labels = [r["label"] for r in shares.collect(connection, home)["rows"]]
    assert "grid rows=3" in labels
    assert sum(text.startswith("coarse ") for text in labels) == 2
    assert len(set(labels)) == len(labels)
