"""Classes and keypoints of COCO files as people have them, joined by what they are (kinds A and D
of docs/design/data.md)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from bench.contracts.data import check_same_classes
from bench.contracts.images import ImageSet
from bench.core.errors import BadData
from tests.data.folders import component, make, runtime
from tests.data.found_coco import (
    NAMES,
    Content,
    Edit,
    index,
    refused,
    write,
    write_persons,
)

# A: what one split says is compared with the other


def perfect_ap(train: ImageSet, val: ImageSet) -> float:
    """pycocotools' AP of a detector that finds every object of val and names it by train's list,
    against the names that val's own file gives."""
    truth, found = COCO(), []
    truth.dataset = {
        "info": {},
        "images": [{"id": int(i)} for i in val.ids],
        "categories": [{"id": i, "name": n} for i, n in enumerate(val.classes)],
        "annotations": [],
    }
    for i in range(len(val)):
        o = val.objects(i)
        for box, label, number in zip(o.boxes, o.labels, o.ids, strict=True):
            x1, y1, x2, y2 = map(float, box)
            record = {"image_id": int(val.ids[i]), "bbox": [x1, y1, x2 - x1, y2 - y1]}
            truth.dataset["annotations"].append(
                record
                | {"id": int(number), "category_id": int(label), "iscrowd": 0}
                | {"area": (x2 - x1) * (y2 - y1)}
            )
            guess = train.classes.index(NAMES[(int(number) - 1) % 3])
            found.append(record | {"category_id": guess, "score": 0.9})
    truth.createIndex()
    run = COCOeval(truth, truth.loadRes(found), "bbox")
    run.evaluate(), run.accumulate(), run.summarize()
    return float(run.stats[0])


def renumber(ids: dict[int, int], order: list[str]) -> Edit:
    """val gives its categories other ids, and lists them in another order."""

    def edit(split: str, made: Content) -> None:
        if split == "val":
            names = {ids[c["id"]]: c["name"] for c in made["categories"]}
            made["categories"] = sorted(
                ({"id": i, "name": n} for i, n in names.items()),
                key=lambda c: order.index(str(c["name"])),
            )
            for one in made["annotations"]:
                one["category_id"] = ids[one["category_id"]]

    return edit


@pytest.mark.parametrize(
    ("ids", "order"),
    [
        ({1: 3, 2: 1, 3: 2}, ["green", "blue", "red"]),
        ({1: 0, 2: 1, 3: 2}, ["red", "green", "blue"]),
        ({1: 7, 2: 3, 3: 99}, ["blue", "red", "green"]),
        ({1: 2, 2: 1, 3: 3}, ["red", "green", "blue"]),
        ({1: -5, 2: 90, 3: 12}, ["red", "blue", "green"]),
        ({1: 1, 2: 2, 3: 3}, ["blue", "green", "red"]),
    ],
    ids=["permuted", "from 0", "sparse", "two exchanged", "negative", "another order"],
)
def test_a_classes_are_joined_by_name(
    tmp_path: Path, home: Path, ids: dict[int, int], order: list[str]
) -> None:
    splits, _ = index(write(tmp_path / "coco", renumber(ids, order)), home)
    assert splits["train"].classes == splits["val"].classes == list(NAMES)
    assert perfect_ap(splits["train"], splits["val"]) == 1.0


def test_a_annotations_as_written_have_the_same_classes(tmp_path: Path, home: Path) -> None:
    """Official scores are of the file itself: its categories follow train's list too."""
    root = write(tmp_path / "coco", renumber({1: 3, 2: 1, 3: 2}, ["green", "blue", "red"]))
    written = component("coco").read_annotations(root, "val", list(NAMES))
    assert [c["name"] for c in written["categories"]] == list(NAMES)
    assert [a["category_id"] for a in written["annotations"]] == [1, 2, 3, 1, 2, 3]


def test_a_class_of_val_alone_is_refused(tmp_path: Path, home: Path) -> None:
    def edit(split: str, made: Content) -> None:
        if split == "val":
            made["categories"][1]["name"] = "gren"

    (line,) = refused(write(tmp_path / "coco", edit), home)
    assert "category 2 'gren' has objects" in line
    assert "did you mean 'green'" in line


def test_a_class_of_val_without_objects_changes_nothing(tmp_path: Path, home: Path) -> None:
    def edit(split: str, made: Content) -> None:
        if split == "val":
            made["categories"].insert(0, {"id": 0, "name": "supercategory"})

    splits, _ = index(write(tmp_path / "coco", edit), home)
    assert splits["val"].classes == list(NAMES)


def test_a_one_name_for_two_classes_is_refused(tmp_path: Path, home: Path) -> None:
    def edit(split: str, made: Content) -> None:
        made["categories"][2]["name"] = "red"

    assert (
        "categories 1 and 3 are both named 'red'"
        in refused(write(tmp_path / "coco", edit), home)[0]
    )


class _Listing(ImageSet):
    def __init__(self, split: str, classes: list[str], points: tuple[str, ...] = ()) -> None:
        self.name, self.split, self.classes, self.keypoint_names = "x", split, classes, points


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        (["a", "b"], ["b", "a"], "class 0 of train is 'a', of val 'b'"),
        (["a", "b"], ["a"], "class 1 of train is 'b', of val none"),
        (["a"], ["a", "b"], "class 1 of train is none, of val 'b'"),
    ],
)
def test_a_every_layout_is_checked_where_a_task_receives_it(
    one: list[str], other: list[str], words: str
) -> None:
    with pytest.raises(BadData, match=words):
        check_same_classes(_Listing("train", one), _Listing("val", other))
    with pytest.raises(BadData, match="keypoint"):
        check_same_classes(_Listing("train", [], tuple(one)), _Listing("val", [], tuple(other)))
    check_same_classes(_Listing("train", one), _Listing("val", one))


def test_a_loading_val_compares_it_with_train(tmp_path: Path, home: Path) -> None:
    data, given = component("coco"), runtime(home)
    stage, folder = make(data, write(tmp_path / "coco"), given)
    file = folder / "val" / "classes.json"
    file.chmod(0o644)
    file.write_text('["green", "red", "blue"]')
    with pytest.raises(BadData, match="class 0 of train is 'red', of val 'green'"):
        data.load(folder, given.roots[stage.key], "val")


# D: a join verifies image, category and box


def middles_are_right(images: ImageSet) -> list[bool]:
    """Of each object with keypoints: whether they lie at the centre of its own box, and its class
    is the first."""
    right = []
    for i in range(len(images)):
        o = images.objects(i)
        assert o.keypoints is not None
        for box, points, label in zip(o.boxes, o.keypoints, o.labels, strict=True):
            if points[0, 2] > 0:
                centre = (box[:2] + box[2:]) / 2
                right.append(bool(np.abs(points[0, :2] - centre).max() < 1 and label == 0))
    return right


@pytest.mark.parametrize(
    "change",
    [
        lambda n, a: {**a, "id": n},
        lambda n, a: {**a, "id": 1000 - n},
        lambda n, a: a,
        lambda n, a: {**a, "id": n + 1, "bbox": [v + 0.3 for v in a["bbox"]]},
        lambda n, a: {**a, "id": str(n)},
        lambda n, a: {k: v for k, v in {**a, "id": 50 + n}.items() if k != "segmentation"},
    ],
    ids=["numbered anew", "backwards", "same ids", "rounded boxes", "text ids", "no masks"],
)
def test_d_keypoints_go_to_their_person(
    tmp_path: Path, home: Path, change: Callable[[int, Content], Content]
) -> None:
    splits, _ = index(write_persons(tmp_path / "coco", change), home)
    assert middles_are_right(splits["train"]) == [True, True]
    assert middles_are_right(splits["val"]) == [True, True]


@pytest.mark.parametrize(
    "change",
    [
        lambda n, a: {**a, "bbox": [0, 0, 5, 5]},
        lambda n, a: {**a, "category_id": 2},
        lambda n, a: {**a, "image_id": a["image_id"] + 1},
        lambda n, a: {**a, "id": a["id"] + 1, "image_id": a["image_id"] + 1},
        lambda n, a: {**a, "id": n, "category_id": 3},
    ],
    ids=["box", "category", "image", "id and image", "id and category"],
)
def test_d_keypoints_of_no_object_are_refused(
    tmp_path: Path, home: Path, change: Callable[[int, Content], Content]
) -> None:
    lines = refused(write_persons(tmp_path / "coco", change), home)
    assert len(lines) == 4, "two persons of two splits, all of them listed"
    assert all("has no object of image" in line for line in lines)


def test_d_two_persons_in_one_box_are_told_apart_by_id_or_not_at_all(
    tmp_path: Path, home: Path
) -> None:
    def twins(split: str, made: Content) -> None:
        made["annotations"].append({**made["annotations"][0], "id": 70})

    splits, _ = index(write_persons(tmp_path / "one", lambda n, a: a, twins), home)
    assert sum(middles_are_right(splits["train"])) == 3
    root = write_persons(tmp_path / "two", lambda n, a: {**a, "id": 500 + n}, twins)
    assert "several objects of image 1" in refused(root, tmp_path / "other")[0]
