"""Values of COCO files as people have them: each is read for what it says, or refused in lines
that name file, entry, value and rule (kinds G, H and L of docs/design/data.md)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.data.found_coco import (
    SIZE,
    Content,
    Edit,
    content,
    index,
    refused,
    set_field,
    write,
)

# G: types


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


def each(change: Callable[[Content, Content], object]) -> Edit:
    """`change(annotation, content)` for every annotation of both splits."""

    def edit(split: str, made: Content) -> None:
        for one in list(made["annotations"]):
            change(one, made)

    return edit


def repeat(one: Content, made: Content) -> None:
    made["annotations"].append({**one, "id": one["id"] + 100})


@pytest.mark.parametrize(
    ("edit", "remark"),
    [
        (
            each(lambda a, c: a.update(bbox=[0, 0, *SIZE], segmentation=[])),
            "6 of 6 boxes are their whole image",
        ),
        (
            each(lambda a, c: a.update(bbox=[0.5, 0, 95.0, 71.5], segmentation=[])),
            "6 of 6 boxes are their whole image",
        ),
        (each(repeat), "6 of 12 objects have image, class and box of an earlier one"),
        (each(lambda a, c: a.update(area=0)), "6 of 6 areas are 0, of boxes that are not empty"),
        (
            each(lambda a, c: a.update(keypoints=[-5, 9, 2, 10, 10, 1], num_keypoints=2)),
            "6 of 12 keypoints lie outside of their image",
        ),
        (
            each(lambda a, c: a.update(keypoints=[96, 72, 2, -1, -1, 0], num_keypoints=1)),
            None,  # the border is inside, and what is not visible lies nowhere
        ),
        (each(lambda a, c: a.update(bbox=[1, 1, 94, 70], segmentation=[])), None),
        (each(lambda a, c: a.update(area=None)), None),
        (
            each(lambda a, c: repeat({**a, "category_id": a["category_id"] % 3 + 1}, c)),
            None,  # one object of two classes
        ),
    ],
)
def test_h_what_is_legal_and_rarely_meant_is_remarked(
    edit: Edit, remark: str | None, tmp_path: Path
) -> None:
    root = write(tmp_path / "coco", edit)
    _, report = index(root, tmp_path / "home")
    remarks = [r for r in report["train"]["remarks"] if "names the" not in r]
    assert remarks == [remark] * (remark is not None)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("{}.PNG", "but 000000000001.png lies there; correct the file names"),
        ("{}.jpg", "but 000000000001.png lies there; correct the file names"),
        ("{}", "but 000000000001.png lies there; correct the file names"),
        ("x{}.png", "unpack train2017.zip again, or add the files"),
    ],
)
def test_l_names_that_differ_by_suffix_are_no_reason_to_unpack_again(
    name: str, says: str, tmp_path: Path
) -> None:
    def edit(split: str, made: Content) -> None:
        for image in made["images"]:
            image["file_name"] = name.format(image["file_name"].removesuffix(".png"))

    root = write(tmp_path / "coco", edit)
    lines = refused(root, tmp_path / "home")
    assert lines[0].endswith(says)
