"""COCO's AP is of the annotations as they are written: the official tool's answer to a file of
boxes of two decimals, in part beyond their image, in part without height."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.contracts.images import ImageSet
from bench.contracts.registry import load
from bench.core.errors import BadData
from bench.core.params import Runtime
from bench.core.stage import Stage
from bench.core.store import Store
from bench.data.annotations import FILE, annotations_stage
from bench.data.holdout import hold_out
from bench.launch.local import LocalEngine
from bench.plan.cell import Cell
from bench.plan.planner import make_plan
from tasks._detection.evaluate import evaluate
from tasks._detection.pipeline import score
from tasks._detection.resample import count_coco
from tasks._detection.selection import OneClass
from tasks._detection.truth import ground_truth, read_truth
from tests.data.folders import Deaf, component, runtime
from tests.tasks.test_coco_answers import NEAR, load_answer, load_case

KEYPOINTS = [5.0, 6.0, 2.0, *[0.0] * 48]


def write_set(root: Path, truth: Any) -> Path:
    """A COCO folder both of whose splits are `truth`, with grey pictures."""
    for split in ("train", "val"):
        folder = root / f"{split}2017"
        folder.mkdir(parents=True)
        for image in truth["images"]:
            picture = Image.new("RGB", (image["width"], image["height"]), (90, 90, 90))
            picture.save(folder / image["file_name"])
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(truth))
    return root


class Made:
    """The data stage of a folder, and what its engine makes."""

    def __init__(self, root: Path, home: Path) -> None:
        self.given: Runtime = runtime(home)
        self.data = component("coco")
        self.stage: Stage = self.data.stage(root, self.given)
        self.engine = LocalEngine(self.given, Store(home), Deaf())

    def images(self) -> ImageSet:
        folder = self.engine.ensure(self.stage)
        return self.data.load(folder, self.given.roots[self.stage.key], "val")

    def written(self, data: Stage | None = None) -> Path:
        stage = annotations_stage(data or self.stage, "val")
        assert stage is not None
        return self.engine.ensure(stage)


@pytest.fixture
def made(tmp_path: Path, home: Path) -> Made:
    return Made(write_set(tmp_path / "coco", load_case("written")[0]), home)


@pytest.mark.parametrize("evaluator", ["hotcoco", "pycocotools"])
def test_scores_are_the_official_tools_whatever_the_index_rounds(
    made: Made, evaluator: str
) -> None:
    """All 12 numbers and the precision table; of the index (float32 corners, clipped, without
    empty boxes) AP is another."""
    detections, images = load_case("written")[1], made.images()
    stats, precision = evaluate(read_truth(images, made.written()), detections, "bbox", evaluator)
    np.testing.assert_allclose(stats, load_answer("written", "bbox", "stats"), rtol=0, atol=NEAR)
    answer = load_answer("written", "bbox", "precision")
    np.testing.assert_allclose(precision, answer, rtol=0, atol=NEAR)
    rounded, _ = evaluate(ground_truth(images), detections, "bbox", evaluator)
    assert abs(rounded[0] - stats[0]) > 0.01


def test_float32_corners_alone_change_the_answer(made: Made) -> None:
    """The same boxes through float32 corners and back, neither clipped nor dropped."""
    truth, detections = read_truth(made.images(), made.written()), load_case("written")[1]
    for one in truth["annotations"]:
        x, y, w, h = one["bbox"]
        x1, y1, x2, y2 = (float(np.float32(v)) for v in (x, y, x + w, y + h))
        one["bbox"] = [x1, y1, x2 - x1, y2 - y1]
    rounded, _ = evaluate(truth, detections, "bbox")
    assert abs(rounded[0] - load_answer("written", "bbox", "stats")[0]) > 0.01


def test_nothing_of_a_box_is_changed(made: Made) -> None:
    given = load_case("written")[0]
    truth = json.loads((made.written() / FILE).read_text())
    assert [a["bbox"] for a in truth["annotations"]] == [a["bbox"] for a in given["annotations"]]
    assert [a["id"] for a in truth["annotations"]] == list(range(1, 161))
    assert [i["id"] for i in truth["images"]] == sorted(i["id"] for i in given["images"])
    assert truth["categories"] == [
        {"id": 1, "name": "car"},
        {"id": 2, "name": "cat"},
        {"id": 3, "name": "bottle"},
    ]
    own = {44: 3, 3: 1, 17: 2}
    assert [a["category_id"] for a in truth["annotations"]] == [
        own[a["category_id"]] for a in given["annotations"]
    ]


def test_an_evaluation_and_its_resampling_read_them(made: Made) -> None:
    """The counts of resampling are in the order of the images' ids, whatever that of the file."""
    p: Any = load("task", "coco_det").resolve("tiny", {"evaluator": "pycocotools"}).params
    boxes = p.model_copy(update={"kinds": ("bbox",)})
    images, detections = made.images(), load_case("written")[1]
    metrics, _ = score(images, detections, boxes, made.written())
    assert metrics["AP_bbox"] == pytest.approx(
        100 * load_answer("written", "bbox", "stats")[0], abs=100 * NEAR
    )
    truth = read_truth(images, made.written())
    counted = count_coco(truth, detections, "bbox", "pycocotools")
    assert counted["AP_bbox"](np.ones(8, np.int64)) == pytest.approx(metrics["AP_bbox"])
    assert [i["id"] for i in truth["images"]] == images.ids.tolist()


def test_a_validation_part_has_the_annotations_of_its_images(made: Made) -> None:
    held = hold_out(made.stage, 0.5, made.given)
    truth = json.loads((made.written(held) / FILE).read_text())
    folder = made.engine.ensure(held)
    images = made.data.load_part(folder, made.given.roots[held.key], "val", 0.5)
    assert [i["id"] for i in truth["images"]] == images.ids.tolist()
    assert len(images) == 4
    assert {a["image_id"] for a in truth["annotations"]} == set(images.ids.tolist())
    assert len(truth["annotations"]) == 80


def test_persons_without_keypoints_count_for_nothing(tmp_path: Path, home: Path) -> None:
    """The official file of keypoints has all persons; one that it lacks has none labelled."""
    truth, _ = load_case("written")
    truth["categories"][1]["name"] = "person"
    persons = [a for a in truth["annotations"] if a["category_id"] == 3]
    known = {**persons[0], "keypoints": KEYPOINTS, "num_keypoints": 1}
    root = write_set(tmp_path / "coco", truth)
    for split in ("train", "val"):
        file = root / "annotations" / f"person_keypoints_{split}2017.json"
        file.write_text(json.dumps({**truth, "annotations": [known]}))
    made = Made(root, home)
    read = read_truth(OneClass(made.images()), made.written())
    assert read["categories"] == [{"id": 1, "name": "person"}]
    assert [a["bbox"] for a in read["annotations"]] == [a["bbox"] for a in persons]
    assert {a["category_id"] for a in read["annotations"]} == {1}
    labelled = [a["num_keypoints"] for a in read["annotations"]]
    assert labelled == [1] + [0] * (len(persons) - 1)
    assert read["annotations"][0]["keypoints"] == KEYPOINTS
    assert read["annotations"][1]["keypoints"] == [0.0] * 51


def test_a_box_that_is_no_number_is_refused(tmp_path: Path, home: Path) -> None:
    truth, _ = load_case("written")
    truth["annotations"][4]["bbox"][1] = float("nan")
    with pytest.raises(BadData, match="a value of bbox is nan, not a number"):
        Made(write_set(tmp_path / "coco", truth), home)


def test_annotations_that_changed_are_refused(made: Made) -> None:
    made.images()
    file = made.given.roots[made.stage.key] / "annotations" / "instances_val2017.json"
    file.write_text(file.read_text() + "\n")
    with pytest.raises(BadData, match="changed since this run began"):
        made.written()


def test_only_sets_that_are_scored_so_have_the_stage(tmp_path: Path, home: Path) -> None:
    """The evaluation of COCO has one more input; of generated scenes, of a VOC task and of a
    classification it has those of before, so that its key stays."""
    root = write_set(tmp_path / "coco", load_case("written")[0])

    def inputs(task: str, data: str) -> set[str]:
        cell = Cell("byol", "image", task, "scenes", data, "tiny", 0)
        given = runtime(home)
        (planned,) = make_plan([cell], given, {"coco": root}).cells
        assert planned.final is not None
        return set(planned.final.inputs)

    assert inputs("coco_det", "coco") == {"backbone", "data", "annotations"}
    assert inputs("coco_retinanet", "coco") == {"backbone", "data", "annotations"}
    assert inputs("coco_det", "scenes") == {"backbone", "data"}
    assert inputs("voc0712_det", "coco") == {"backbone", "data"}
