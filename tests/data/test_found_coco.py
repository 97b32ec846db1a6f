"""COCO files as people have them: each is read for what it says, or refused in lines that name
file, entry, value and rule. The kinds are those of docs/design/data.md."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from bench.contracts.data import check_same_classes
from bench.contracts.images import ImageSet, Subset
from bench.core.errors import BadData
from bench.data.layouts.coco_file import Wrong
from bench.data.layouts.coco_masks import read_mask
from tasks._detection.pipeline import prepare_split
from tests.data.folders import component, make, runtime

NAMES = ("red", "green", "blue")
SIZE = (96, 72)
Content = dict[str, Any]
Edit = Callable[[str, Content], None]


def polygon(x: float, y: float, w: float, h: float) -> list[list[float]]:
    return [[x, y, x + w, y, x + w, y + h, x, y + h]]


def content(seed: int, count: int = 6) -> Content:
    """One object an image, of the three classes in turn."""
    rng = np.random.default_rng(seed)
    images, annotations = [], []
    for i in range(count):
        side = int(rng.integers(20, 30))
        x, y = (int(rng.integers(2, s - side - 2)) for s in SIZE)
        images.append(
            {"id": i + 1, "file_name": f"{i + 1:012d}.png", "width": SIZE[0], "height": SIZE[1]}
        )
        annotations.append(
            {
                "id": i + 1,
                "image_id": i + 1,
                "category_id": i % 3 + 1,
                "bbox": [x, y, side, side],
                "area": side * side,
                "iscrowd": 0,
                "segmentation": polygon(x, y, side, side),
            }
        )
    categories = [{"id": i, "name": name} for i, name in enumerate(NAMES, 1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def write(root: Path, edit: Edit | None = None) -> Path:
    """train2017/, val2017/ and their instances; `edit` changes what is written of each."""
    (root / "annotations").mkdir(parents=True)
    for seed, split in enumerate(("train", "val")):
        (root / f"{split}2017").mkdir()
        made = content(seed)
        for i, image in enumerate(made["images"]):
            shade = np.full((SIZE[1], SIZE[0], 3), 20 + 10 * i + 100 * seed, np.uint8)
            Image.fromarray(shade).save(root / f"{split}2017" / image["file_name"])
        if edit is not None:
            edit(split, made)
        put(root, "instances", split, made)
    return root


def put(root: Path, kind: str, split: str, made: Content) -> None:
    (root / "annotations" / f"{kind}_{split}2017.json").write_text(json.dumps(made))


def index(root: Path, home: Path) -> tuple[dict[str, ImageSet], dict[str, Any]]:
    """Both splits as a task receives them, and the report."""
    data, given = component("coco"), runtime(home)
    stage, folder = make(data, root, given)
    splits = {s: data.load(folder, given.roots[stage.key], s) for s in ("train", "val")}
    return splits, json.loads((folder / "report.json").read_text())


def refused(root: Path, home: Path) -> list[str]:
    """The findings of a set that is refused; nothing is left of it."""
    with pytest.raises(BadData) as error:
        index(root, home)
    assert error.value.exit_code == 2
    store = home / "store"
    assert not list(store.rglob("boxes.npy")) if store.exists() else True
    lines = list(error.value.findings) or [str(error.value)]
    assert all("\n" not in line for line in lines)
    return lines


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


def keypoints_of(box: list[float], count: int = 17) -> list[float]:
    """All at the box's centre."""
    x, y, w, h = box
    return [x + w / 2, y + h / 2, 2] * count


def write_persons(
    root: Path, change: Callable[[int, Content], Content], edit: Edit | None = None
) -> Path:
    """Keypoints of the objects of class `red`; `change` edits the n-th annotation."""
    write(root, edit)
    for split in ("train", "val"):
        made = json.loads((root / f"annotations/instances_{split}2017.json").read_text())
        persons = [a for a in made["annotations"] if a["category_id"] == 1]
        points = [
            change(n, {**a, "keypoints": keypoints_of(a["bbox"]), "num_keypoints": 17})
            for n, a in enumerate(persons, 1)
        ]
        put(root, "person_keypoints", split, {**made, "annotations": points})
    return root


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


# G: types


def set_field(part: str, field: str, value: Any, at: int | None = None) -> Edit:
    def edit(split: str, made: Content) -> None:
        for entry in made[part] if at is None else [made[part][at]]:
            entry[field] = value(entry[field]) if callable(value) else value

    return edit


@pytest.mark.parametrize(
    ("edit", "crowds"),
    [
        (set_field("annotations", "iscrowd", "0"), 0),
        (set_field("annotations", "iscrowd", "1"), 6),
        (set_field("annotations", "iscrowd", False), 0),
        (set_field("annotations", "iscrowd", None), 0),
        (set_field("annotations", "iscrowd", 1.0), 6),
        (set_field("annotations", "area", None), 0),
        (set_field("annotations", "area", str), 0),
        (set_field("images", "width", str), 0),
        (set_field("images", "id", str), 0),
        (set_field("annotations", "image_id", float), 0),
        (set_field("categories", "id", str), 0),
        (set_field("annotations", "bbox", lambda box: [str(v) for v in box]), 0),
    ],
    ids=lambda v: "" if callable(v) else str(v),
)
def test_g_what_can_mean_one_thing_only_is_read(
    tmp_path: Path, home: Path, edit: Edit, crowds: int
) -> None:
    plain, _ = index(write(tmp_path / "plain"), home)
    splits, report = index(write(tmp_path / "coco", edit), home)
    images = splits["train"]
    assert images.ids.tolist() == [1, 2, 3, 4, 5, 6]
    assert sum(int(images.objects(i).crowd.sum()) for i in range(6)) == crowds
    for i in range(6):
        ours, theirs = images.objects(i), plain["train"].objects(i)
        assert np.array_equal(ours.boxes, theirs.boxes)
        assert ours.labels.tolist() == theirs.labels.tolist()
        assert ours.area.tolist() == theirs.area.tolist()
    edited = content(0)
    edit("train", edited)
    texts = json.dumps(edited).count('"') - json.dumps(content(0)).count('"')
    words = f"{texts // 2} numbers are written as text, and read as numbers"
    assert report["train"]["remarks"] == [words] * (texts > 0)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (set_field("annotations", "iscrowd", "False"), "iscrowd is 'False', not 0 or 1"),
        (set_field("annotations", "iscrowd", 2), "iscrowd is 2, not 0 or 1"),
        (set_field("annotations", "iscrowd", []), "iscrowd is [], not 0 or 1"),
        (set_field("images", "id", lambda i: f"img-{i}"), "id is 'img-1', not a whole number"),
        (set_field("images", "id", [1]), "id is [1], not a whole number"),
        (set_field("images", "id", True), "id is True, not a whole number"),
        (set_field("images", "id", lambda i: i + 0.5), "id is 1.5, not a whole number"),
        (set_field("images", "id", lambda i: i + 2**64), "id is 18446744073709551617, not a"),
        (set_field("images", "id", lambda i: f"00{i}"), "id is '001', not a whole number"),
        (set_field("images", "width", -1), "width is -1, not a positive whole number"),
        (set_field("images", "height", None), "lacks height"),
        (set_field("images", "file_name", 7), "file_name is 7, not a file's name"),
        (set_field("annotations", "area", "large"), "area is 'large', not a number"),
        (set_field("annotations", "area", -1), "area is -1.0, not a number of 0 or more"),
        (set_field("annotations", "bbox", lambda b: b[:3]), "not a box of four numbers"),
        (set_field("annotations", "bbox", [1, 2, float("inf"), 4]), "a value of bbox is inf"),
        (set_field("categories", "name", 3), "name is 3, not a text"),
    ],
    ids=lambda v: "" if callable(v) else str(v)[:24],
)
def test_g_other_types_are_refused_by_entry_value_and_rule(
    tmp_path: Path, home: Path, edit: Edit, words: str
) -> None:
    lines = refused(write(tmp_path / "coco", edit), home)
    assert words in lines[0]
    assert "instances_train2017.json: " in lines[0]
    assert "[0] (id " in lines[0] or "[0]: " in lines[0]
    splits = {s for s in ("train", "val") for line in lines if f"instances_{s}2017" in line}
    assert splits == {"train", "val"}, "the faults of both splits are listed"


def test_g_many_faults_of_a_kind_are_counted(tmp_path: Path, home: Path) -> None:
    def edit(split: str, made: Content) -> None:
        made["annotations"] *= 20
        for i, one in enumerate(made["annotations"]):
            made["annotations"][i] = {**one, "id": i, "iscrowd": "no"}

    lines = refused(write(tmp_path / "coco", edit), home)
    assert len(lines) == 21
    assert lines[-1] == "and 220 more of the same kind: iscrowd is not 0 or 1"


# H: implausible but legal


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (
            set_field("annotations", "bbox", lambda b: [v / 96 for v in b]),
            "all 6 boxes lie in 0..1",
        ),
        (
            set_field("annotations", "bbox", lambda b: [b[0] + b[2], b[1], -b[2], b[3]]),
            "whose width is negative",
        ),
        (
            set_field("annotations", "bbox", lambda b: [b[0], b[1] + b[3], b[2], -b[3]]),
            "whose height is negative",
        ),
        (
            set_field("images", "file_name", "000000000001.png", at=1),
            "images 1 and 2 both have the file '000000000001.png'",
        ),
        (
            lambda split, made: [i.update(width=72, height=96) for i in made["images"]],
            "width and height are exchanged",
        ),
    ],
    ids=["0..1", "negative width", "negative height", "one file twice", "sides exchanged"],
)
def test_h_what_no_real_set_has_is_damage(
    tmp_path: Path, home: Path, edit: Edit, words: str
) -> None:
    def without_masks(split: str, made: Content) -> None:
        edit(split, made)
        for one in made["annotations"]:
            one.pop("segmentation"), one.pop("area")

    assert any(words in line for line in refused(write(tmp_path / "coco", without_masks), home))


def strip_masks(made: Content) -> None:
    for one in made["annotations"]:
        one.pop("segmentation"), one.pop("area")


def two_corners(split: str, made: Content) -> None:
    strip_masks(made)
    for one in made["annotations"]:
        x, y, w, h = one["bbox"]
        one["bbox"] = [x + 40, y + 30, x + 40 + w, y + 30 + h]


def slivers(split: str, made: Content) -> None:
    strip_masks(made)
    for one in made["annotations"]:
        one["bbox"][2] = 1.5


def large_areas(split: str, made: Content) -> None:
    for one in made["annotations"]:
        one["area"] = 96 * 72


def no_objects(split: str, made: Content) -> None:
    made["annotations"] = []


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (two_corners, "boxes reach beyond their image"),
        (slivers, "6 of 6 boxes are narrower or lower than 2 pixels"),
        (large_areas, "6 of 6 areas are larger than their box"),
        (no_objects, "no object at all"),
    ],
)
def test_h_what_is_rarely_meant_is_a_remark(
    tmp_path: Path, home: Path, edit: Edit, words: str
) -> None:
    _, report = index(write(tmp_path / "coco", edit), home)
    for split in ("train", "val"):
        assert any(words in remark for remark in report[split]["remarks"])


def test_h_pictures_of_train_in_val_are_found_by_content(tmp_path: Path, home: Path) -> None:
    root = write(tmp_path / "coco")
    for there, here in ((1, 3), (2, 5)):
        data = (root / "train2017" / f"{there:012d}.png").read_bytes()
        (root / "val2017" / f"{here:012d}.png").write_bytes(data)
    _, report = index(root, home)
    assert report["train"]["remarks"] == []
    assert report["val"]["remarks"] == [
        "2 pictures lie in train too, byte for byte; the first is 000000000003.png, there "
        "000000000001.png"
    ]


# K: masks and keypoints are looked at while the index is made


def runs_of(box: list[int], size: tuple[int, int]) -> list[int]:
    """Uncompressed run lengths of a box in an image of (width, height)."""
    mask = np.zeros((size[1], size[0]), int)
    x, y, w, h = box
    mask[y : y + h, x : x + w] = 1
    flat = mask.flatten(order="F")
    return np.diff([0, *(np.flatnonzero(np.diff(flat)) + 1), flat.size]).tolist()  # type: ignore[no-any-return]


def masks(make_mask: Callable[[list[int]], Any]) -> Edit:
    def edit(split: str, made: Content) -> None:
        for one in made["annotations"]:
            one["segmentation"] = make_mask(one["bbox"])

    return edit


def compressed(box: list[int]) -> Content:
    whole = np.zeros((SIZE[1], SIZE[0]), np.uint8, order="F")
    x, y, w, h = box
    whole[y : y + h, x : x + w] = 1
    rle = coco_mask.encode(whole)
    return {"size": list(rle["size"]), "counts": rle["counts"].decode()}


@pytest.mark.parametrize(
    ("make_mask", "words"),
    [
        (lambda b: polygon(*b)[0], "segmentation is not a list of polygons: it holds"),
        (
            lambda b: {"size": [96, 72], "counts": runs_of(b, SIZE)},
            "its mask has size [96, 72], but [height, width] of the image is [72, 96]",
        ),
        (lambda b: {"size": [72, 96], "counts": runs_of(b, SIZE)[:-1]}, "cover"),
        (lambda b: {"size": [72, 96], "counts": [7000, -88]}, "or one is negative"),
        (lambda b: {**compressed(b), "counts": compressed(b)["counts"][:-2]}, "run lengths"),
        (lambda b: [[*polygon(*b)[0], 3.0]], "a polygon of its segmentation"),
        (lambda b: [[str(v) for v in polygon(*b)[0]]], "a polygon of its segmentation"),
        (lambda b: [[v / 96 for v in polygon(*b)[0]]], "lies outside its bbox"),
        (lambda b: "mask.png", "segmentation is str, neither polygons nor run lengths"),
        (lambda b: {"size": [72, 96], "counts": [72 * 96]}, "its mask has no pixel"),
    ],
    ids=[
        "flat",
        "size swapped",
        "too short",
        "negative",
        "cut text",
        "odd polygon",
        "text",
        "0..1",
        "a file",
        "empty",
    ],
)
def test_k_masks_that_are_none_are_refused(
    tmp_path: Path, home: Path, make_mask: Callable[[list[int]], Any], words: str
) -> None:
    lines = refused(write(tmp_path / "coco", masks(make_mask)), home)
    assert len(lines) == 12, "every annotation of both splits has its line"
    assert all(words in line for line in lines)
    assert "instances_train2017.json: annotation 1: " in lines[0]


@pytest.mark.parametrize(
    "make_mask",
    [
        lambda b: polygon(*b),
        lambda b: {"size": [72, 96], "counts": runs_of(b, SIZE)},
        compressed,
        lambda b: [*polygon(*b), [b[0], b[1], b[0] + 1, b[1] + 1]],
    ],
    ids=["polygon", "runs", "compressed", "a polygon of two points more"],
)
def test_k_masks_lie_where_pycocotools_has_them(
    tmp_path: Path, home: Path, make_mask: Callable[[list[int]], Any]
) -> None:
    splits, report = index(write(tmp_path / "coco", masks(make_mask)), home)
    assert report["train"]["unmasked"] == 0
    for i in range(6):
        o = splits["train"].objects(i)
        assert o.segmentations is not None
        one = o.segmentations[0]
        rle = (
            coco_mask.merge(coco_mask.frPyObjects(one, SIZE[1], SIZE[0]))
            if isinstance(one, list)
            else coco_mask.frPyObjects(one, SIZE[1], SIZE[0])
            if isinstance(one["counts"], list)
            else {**one, "counts": one["counts"].encode()}
        )
        x, y, w, h = coco_mask.toBbox(rle)
        np.testing.assert_allclose([x, y, x + w, y + h], o.boxes[0], atol=1)


@pytest.mark.parametrize("seed", range(20))
def test_k_the_extent_of_run_lengths_is_pycocotools(seed: int) -> None:
    rng = np.random.default_rng(seed)
    width, height = (int(v) for v in rng.integers(1, 40, 2))
    mask = np.asfortranarray(rng.random((height, width)) < rng.random() ** 3, dtype=np.uint8)
    if not mask.any():
        mask[rng.integers(height), rng.integers(width)] = 1
    rle = coco_mask.encode(mask)
    one = {"size": [height, width], "counts": rle["counts"].decode()}
    kept, extent = read_mask(one, (width, height))
    x, y, w, h = coco_mask.toBbox(rle)
    assert kept is one
    assert extent == (x, y, x + w, y + h)


@pytest.mark.parametrize("none", [None, [], [[1.0, 2.0, 3.0, 4.0]]])
def test_k_no_mask_is_no_mask(none: Any) -> None:
    assert read_mask(none, SIZE) == (None, None)


def test_k_counts_of_other_characters_are_no_masks() -> None:
    with pytest.raises(Wrong, match="do not decode"):
        read_mask({"size": [72, 96], "counts": "\x10\x11"}, SIZE)


def test_k_objects_without_a_mask_are_counted_and_refused_before_training(
    tmp_path: Path, home: Path
) -> None:
    def edit(split: str, made: Content) -> None:
        for at, none in ((1, None), (3, []), (4, [[1.0, 2.0, 3.0, 4.0]])):
            made["annotations"][at]["segmentation"] = none

    splits, report = index(write(tmp_path / "coco", edit), home)
    assert report["train"]["unmasked"] == 3
    assert splits["train"].count_unmasked().tolist() == [0, 1, 0, 1, 1, 0]
    assert Subset(splits["train"], np.array([1, 2]), "val").count_unmasked().tolist() == [1, 0]
    segment = cast("Any", SimpleNamespace(kinds=("bbox", "segm")))
    with pytest.raises(BadData, match="3 objects of coco/train have no mask"):
        prepare_split(splits["train"], segment)
    boxes = cast("Any", SimpleNamespace(kinds=("bbox",)))
    assert prepare_split(splits["train"], boxes) is splits["train"]


FIVE = ["nose", "left_hand", "right_hand", "left_foot", "right_foot"]


def write_skeleton(root: Path, count: int, names: list[str]) -> Path:
    def change(n: int, a: Content) -> Content:
        return {**a, "keypoints": keypoints_of(a["bbox"], count), "num_keypoints": count}

    write_persons(root, change)
    for split in ("train", "val"):
        file = root / f"annotations/person_keypoints_{split}2017.json"
        made = json.loads(file.read_text())
        if names:
            made["categories"][0]["keypoints"] = names
        file.write_text(json.dumps(made))
    return root


@pytest.mark.parametrize(
    ("count", "names", "expected"),
    [
        (5, FIVE, FIVE),
        (5, [], [f"keypoint_{i}" for i in range(1, 6)]),
        (1, ["tip"], ["tip"]),
        (21, [f"joint_{i}" for i in range(21)], [f"joint_{i}" for i in range(21)]),
        (17, [], None),
    ],
    ids=["five", "five without names", "one", "a hand", "COCO's"],
)
def test_k_other_skeletons_are_read(
    tmp_path: Path, home: Path, count: int, names: list[str], expected: list[str] | None
) -> None:
    splits, report = index(write_skeleton(tmp_path / "coco", count, names), home)
    images = splits["train"]
    assert list(images.keypoint_names) == (expected or list(images.keypoint_names))
    assert len(images.keypoint_names) == count
    points = images.objects(0).keypoints
    assert points is not None
    assert points.shape == (1, count, 3)
    said = any("no file names" in remark for remark in report["train"]["remarks"])
    assert said == (not names and count != 17)


def test_k_names_of_another_number_and_two_skeletons_are_refused(
    tmp_path: Path, home: Path
) -> None:
    (line,) = refused(write_skeleton(tmp_path / "a", 5, FIVE[:4]), home)
    assert "has 5 keypoints, but" in line
    assert "names 4" in line
    root = write_skeleton(tmp_path / "b", 5, FIVE)
    file = root / "annotations/person_keypoints_val2017.json"
    made = json.loads(file.read_text())
    for one in made["annotations"]:
        one["keypoints"] = one["keypoints"][:9]
    file.write_text(json.dumps(made))
    assert "a set has one skeleton" in refused(root, home)[0]


@pytest.mark.parametrize(
    ("points", "words"),
    [
        ([1, 2, 3, 4], "not x, y, visibility"),
        ([1, 2, 5], "visibility is 5"),
        ([1, None, 2], "a value of keypoints is None"),
        ([[1, 2, 2]], "not x, y, visibility"),
        ("none", "not x, y, visibility"),
    ],
)
def test_k_keypoints_that_are_none_are_refused(
    tmp_path: Path, home: Path, points: Any, words: str
) -> None:
    root = write_persons(tmp_path / "coco", lambda n, a: {**a, "keypoints": points})
    assert words in refused(root, home)[0]


# L: advice that fits the cause


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda n: "images\\" + n, "hold a folder, the first is 'images\\\\000000000001.png'"),
        (lambda n: "train2017/" + n, "hold a folder, the first is 'train2017/000000000001.png'"),
        (lambda n: "/home/me/" + n, "hold a folder, the first is '/home/me/000000000001.png'"),
        (lambda n: "C:\\data\\" + n, "hold a folder, the first is 'C:\\\\data"),
        (lambda n: "../" + n, "hold a folder, the first is '../000000000001.png'"),
    ],
    ids=["backslash", "slash", "absolute", "drive", "above"],
)
def test_l_file_names_with_folders_say_so(
    tmp_path: Path, home: Path, change: Callable[[str], str], words: str
) -> None:
    edit = set_field("images", "file_name", change)
    lines = refused(write(tmp_path / "coco", edit), home)
    assert words in lines[0]
    assert "a file_name is relative to train2017/, and 000000000001.png lies there" in lines[0]
    assert "unpack" not in lines[0]
    assert len(lines) == 2
