"""YOLO sets of a lab's own: layouts of real tools, boxes and outlines, what is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from bench.core.errors import BadData
from tests.data.folders import component, runtime
from tests.data.own import (
    NAMES,
    Picture,
    check_truth,
    open_set,
    pictures,
    put_text,
    refusal,
    report,
    save,
)

TRAIN, VAL = pictures("train"), pictures("val")
LISTED = f"names: [{', '.join(NAMES)}]\n"
NUMBERED = "names:\n" + "".join(f"  {i}: {name}\n" for i, name in enumerate(NAMES))


def label(picture: Picture, names: Sequence[str] = NAMES) -> str:
    width, height = picture.size
    return "".join(
        f"{names.index(n)} {(a + c) / 2 / width:.9g} {(b + d) / 2 / height:.9g} "
        f"{(c - a) / width:.9g} {(d - b) / height:.9g}\n"
        for n, a, b, c, d in picture.boxes
    )


def put(images: Path, labels: Path, those: Sequence[Picture], suffix: str = ".jpg") -> None:
    for p in those:
        save(images / f"{p.name}{suffix}", p)
        put_text(labels / f"{p.name}.txt", label(p))


def ultralytics(root: Path) -> None:
    """`images/SPLIT`, `labels/SPLIT`, a `path` of the machine that wrote it; no empty files."""
    for split, those in (("train", TRAIN), ("val", VAL)):
        put(root / "images" / split, root / "labels" / split, those)
        (root / "labels" / split / f"{those[-1].name}.txt").unlink()
    text = f"path: /content/datasets/ours\ntrain: images/train\nval: images/val\n{NUMBERED}"
    put_text(root / "data.yaml", text)


def roboflow(root: Path) -> None:
    """`SPLIT/images` and `SPLIT/labels`, and paths that lead out of the folder."""
    for split, those in (("train", TRAIN), ("valid", VAL)):
        put(root / split / "images", root / split / "labels", those)
    put_text(root / "data.yaml", f"train: ../train/images\nval: ../valid/images\nnc: 3\n{LISTED}")


def cvat(root: Path) -> None:
    """Lists whose paths begin with data/, which is the root."""
    for split, those in (("train", TRAIN), ("val", VAL)):
        put(root / "images" / split, root / "labels" / split, those, ".png")
        rows = "".join(f"data/images/{split}/{p.name}.png\n" for p in those)
        put_text(root / f"{split}.txt", rows)
    put_text(root / "data.yaml", f"path: .\ntrain: train.txt\nval: val.txt\n{NUMBERED}")


def label_studio(root: Path) -> None:
    """`classes.txt`, images/ and labels/ without splits."""
    put(root / "images", root / "labels", TRAIN)
    put_text(root / "classes.txt", "\n".join(NAMES))
    put_text(root / "notes.json", "{}")


def darknet(root: Path) -> None:
    """Labels beside the images."""
    put(root / "obj_train_data", root / "obj_train_data", TRAIN)
    rows = "".join(f"data/obj_train_data/{p.name}.jpg\n" for p in TRAIN)
    put_text(root / "train.txt", rows)
    put_text(root / "obj.names", "\n".join(NAMES) + "\n")


@pytest.mark.parametrize("write", [ultralytics, roboflow, cvat, label_studio, darknet])
def test_layouts_of_tools_are_found(
    write: Callable[[Path], None], tmp_path: Path, home: Path
) -> None:
    root = tmp_path / "set"
    write(root)
    train = open_set("yolo", root, home)
    assert train.classes == list(NAMES)
    check_truth(train, TRAIN, 1e-4)
    if write in (ultralytics, roboflow, cvat):
        check_truth(open_set("yolo", root, home, "val"), VAL, 1e-4)
    else:
        with pytest.raises(BadData, match="has no val of yolo"):
            open_set("yolo", root, home, "val")


def test_what_is_odd_is_remarked(tmp_path: Path, home: Path) -> None:
    ultralytics(tmp_path)
    file = tmp_path / "labels" / "train" / f"{TRAIN[0].name}.txt"
    file.write_text(file.read_text() * 2)
    put_text(tmp_path / "labels" / "train" / "gone.txt", "0 .5 .5 .1 .1\n")
    remarks = report("yolo", tmp_path, home)["train"]["remarks"]
    assert remarks == [
        "1 of 4 images have no label file: they count as images without objects",
        "1 label file has no image that is listed, the first is labels/train/gone.txt",
        "1 line is in a file twice, and read once",
    ]
    check_truth(open_set("yolo", tmp_path, home), TRAIN, 1e-4)


def test_outlines_are_masks_with_their_box_and_area(tmp_path: Path, home: Path) -> None:
    """A right triangle of 40 x 20 pixels in an image of 80 x 40, beside a box."""
    save(tmp_path / "images" / "a.png", Picture("a", (80, 40), ()))
    put_text(tmp_path / "labels" / "a.txt", "1 0.25 0.25 0.75 0.25 .25 7.5e-1\n0 .5 .5 .25 .5\n")
    put_text(tmp_path / "data.yaml", f"train: images\n{LISTED}")
    images = open_set("yolo", tmp_path, home)
    objects = images.objects(0)
    assert objects.boxes.tolist() == [[20, 10, 60, 30], [30, 10, 50, 30]]
    assert objects.labels.tolist() == [1, 0]
    assert objects.area.tolist() == [400, 400]
    assert objects.segmentations == [[[20, 10, 60, 10, 20, 30]], None]
    assert images.count_unmasked().tolist() == [1]


def test_boxes_are_cut_to_the_image_and_empty_ones_are_counted(tmp_path: Path, home: Path) -> None:
    save(tmp_path / "images" / "a.png", Picture("a", (80, 40), ()))
    put_text(tmp_path / "labels" / "a.txt", "0 0 0.5 0.5 0.5\n1 0.5 0.5 0 0.5\n")
    put_text(tmp_path / "data.yaml", f"train: images\n{LISTED}")
    assert open_set("yolo", tmp_path, home).objects(0).boxes.tolist() == [[0, 10, 20, 30]]
    counts = report("yolo", tmp_path, home)["train"]
    assert (counts["objects"], counts["clipped"], counts["dropped"]) == (1, 1, 1)


def test_keypoints_are_left_out_and_said(tmp_path: Path, home: Path) -> None:
    save(tmp_path / "images" / "a.png", Picture("a", (80, 40), ()))
    put_text(tmp_path / "labels" / "a.txt", "0 0.5 0.5 0.25 0.5 0.4 0.4 2 0.6 0.6 1\n")
    put_text(tmp_path / "data.yaml", f"train: images\nkpt_shape: [2, 3]\n{LISTED}")
    assert open_set("yolo", tmp_path, home).objects(0).boxes.tolist() == [[30, 10, 50, 30]]
    assert "keypoints are not read" in report("yolo", tmp_path, home)["train"]["remarks"][0]


def test_classes_are_joined_by_name_whatever_their_numbers(tmp_path: Path, home: Path) -> None:
    """Two exports, each with a data.yaml of its own, which number the classes differently."""
    put(tmp_path / "a" / "images", tmp_path / "a" / "labels", TRAIN)
    put_text(tmp_path / "a" / "data.yaml", f"train: images\n{LISTED}")
    turned = [*NAMES[::-1], "never shown"]
    for p in VAL:
        save(tmp_path / "b" / "images" / f"{p.name}.png", p)
        put_text(tmp_path / "b" / "labels" / f"{p.name}.txt", label(p, turned))
    put_text(tmp_path / "b" / "data.yaml", f"train: images\nnames: {turned}\n")
    settings = {"train": "a/data.yaml", "val": "b/data.yaml"}
    val = open_set("yolo", tmp_path, home, "val", **settings)
    assert val.classes == list(NAMES)
    check_truth(val, VAL, 1e-4)
    put_text(tmp_path / "b" / "data.yaml", "train: images\nnames: [persn, fork lift, pallet]\n")
    (line,) = refusal("yolo", tmp_path, home / "other", **settings)
    assert (
        "class 'persn' has objects, but train has no such class (did you mean 'person'?)" in line
    )
    assert str(tmp_path / "b" / "labels") in line


def test_folders_and_lists_can_be_named(tmp_path: Path, home: Path) -> None:
    ultralytics(tmp_path)
    put_text(
        tmp_path / "mine.txt",
        f"./images/val/{VAL[1].name}.jpg\nimages\\train\\{TRAIN[2].name}.jpg\n",
    )
    settings = {"train": "mine.txt", "val": "images/train"}
    check_truth(open_set("yolo", tmp_path, home, **settings), [VAL[1], TRAIN[2]], 1e-4)
    check_truth(open_set("yolo", tmp_path, home, "val", **settings), TRAIN, 1e-4)


def test_the_key_is_of_the_content(tmp_path: Path, home: Path) -> None:
    given, data = runtime(home), component("yolo")
    ultralytics(tmp_path / "set")
    first = data.stage(tmp_path / "set", given).key
    (tmp_path / "set").rename(tmp_path / "other")
    put_text(tmp_path / "other" / "labels" / "train" / "more.txt", "not of an image")
    yaml = tmp_path / "other" / "data.yaml"
    yaml.write_text(yaml.read_text().replace("/content/datasets/ours", "D:/ours"))
    assert data.stage(tmp_path / "other", given).key == first
    labels = tmp_path / "other" / "labels" / "val" / f"{VAL[0].name}.txt"
    labels.write_text(labels.read_text().replace("0 ", "1 ", 1))
    assert data.stage(tmp_path / "other", given).key != first


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("3 .5 .5 .1 .1", "the class is 3, not a whole number from 0 to 2"),
        ("0.5 .5 .5 .1 .1", "the class is 0.5, not a whole number"),
        ("-1 .5 .5 .1 .1", "the class is -1, not a whole number"),
        ("pallet .5 .5 .1 .1", "'pallet' is not a number"),
        ("0 .5 .5 .1", "4 values, but a line is"),
        ("0 .5 .5 .1 .1 .2", "6 values, but a line is"),
        ("0 32 20 10 10", "32 is not a share of the image in 0..1; are these pixels?"),
        ("0 nan .5 .1 .1", "'nan' is not a number"),
        ("0 .5 .5 1_0 .1", "'1_0' is not a number"),
        ("0 .5 .5 -0.005 .1", "the sides are -0.005 and 0.1"),
        ("0 .1 .1 .2 .2 .3 1.2", "1.2 is not a share"),
    ],
)
def test_every_wrong_line_is_a_finding(line: str, says: str, tmp_path: Path, home: Path) -> None:
    ultralytics(tmp_path)
    for number in (0, 1):
        file = tmp_path / "labels" / "train" / f"{TRAIN[number].name}.txt"
        file.write_text(file.read_text() + f"\n{line}\n")
    found = refusal("yolo", tmp_path, home)
    assert len(found) == 2
    for number, text in enumerate(found):
        at = len(TRAIN[number].boxes) + 2
        assert f"{TRAIN[number].name}.txt line {at}: " in text
        assert says in text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"train: images/train\nval: /abs/val\n{LISTED}", ["'/abs/val' is absolute"]),
        (f"train: gone\nval: lost\n{LISTED}", ["'gone' is not there", "'lost' is not there"]),
        (f"train: images/train\nnc: 4\n{LISTED}", ["nc is 4, but names has 3"]),
        (
            "train: images/train\nnames: [yes, no, a]\n",
            ["names[0] is True, not a text; write it in quotes", "names[1] is False"],
        ),
        ("train: images/train\nnames: [a, b, a]\n", ["names[0] and names[2] are both 'a'"]),
        (
            "train: images/train\nnames: {1: a, 2: b}\n",
            ["names has the numbers [1, 2], not 0 to 1", "it names no class"],
        ),
        ("train: images/train\n", ["names is None, not a list of names", "it names no class"]),
        (f"train: 5\n{LISTED}", ["train is 5, not a path or several"]),
        (f"train: ../../../etc\n{LISTED}", ["'../../../etc' is not there"]),
        ("a: [", ["is not YAML"]),
        ("[1, 2]", ["describes no YOLO set"]),
        (f"val: images/val\n{LISTED}", ["names no images to train on"]),
        (f"train: images/val/val 0.jpg\n{LISTED}", ["is neither a folder of images nor a list"]),
        (
            f"train: bare\n{LISTED}",
            ["no image of train has a label file; that of bare/x.png would be bare/x.txt"],
        ),
        (
            f"train: list.txt\n{LISTED}",
            ["image images/none.jpg is not there", "line 2: '/x/y.jpg' is absolute"],
        ),
    ],
)
def test_every_fault_of_the_description_is_a_line(
    text: str, says: list[str], tmp_path: Path, home: Path
) -> None:
    ultralytics(tmp_path)
    save(tmp_path / "bare" / "x.png", Picture("x", (9, 9), ()))
    put_text(tmp_path / "list.txt", "images/none.jpg\n/x/y.jpg\n")
    put_text(tmp_path / "data.yaml", text)
    found = refusal("yolo", tmp_path, home)
    assert len(found) == len(says)
    for said in says:
        assert any(said in line for line in found), found


def test_a_folder_of_something_else(tmp_path: Path, home: Path) -> None:
    (line,) = refusal("yolo", tmp_path, home)
    assert "no data.yaml and no classes.txt" in line
    put_text(tmp_path / "a.yaml", LISTED)
    put_text(tmp_path / "b.yaml", LISTED)
    (line,) = refusal("yolo", tmp_path, home)
    assert "say which one describes the set: --set yolo.yaml=a.yaml" in line
    (line,) = refusal("yolo", tmp_path, home, yaml="c.yaml")
    assert "yolo.yaml: there is no 'c.yaml'" in line
    (line,) = refusal("yolo", tmp_path, home, yaml="a.yaml", train="images/x")
    assert "yolo.train: there is no 'images/x'" in line


def test_ids_fit_objects_too(tmp_path: Path, home: Path) -> None:
    ultralytics(tmp_path)
    images = open_set("yolo", tmp_path, home)
    assert (np.diff(images.ids) > 0).all()
    for i in range(len(images)):
        assert (images.objects(i).ids // 10_000 == images.ids[i]).all()


def write_lines(root: Path, line: Callable[[float, float, float, float], str]) -> None:
    """Ultralytics' layout with the line that is made of each box's corners, in shares."""
    ultralytics(root)
    for split, those in (("train", TRAIN), ("val", VAL)):
        for p in those[:-1]:
            width, height = p.size
            shares = [(a / width, b / height, c / width, d / height) for _, a, b, c, d in p.boxes]
            text = "".join(line(*each) for each in shares)
            put_text(root / "labels" / split / f"{p.name}.txt", text)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (lambda a, b, c, d: f"0 {a:.6f} {b:.6f} {c:.6f} {d:.6f}\n", "not two corners"),
        (lambda a, b, c, d: "0 .5 .5 1 1\n", "boxes are their whole image"),
        (lambda a, b, c, d: f"0 {a:.6f} {b:.6f} .01 .01\n", "narrower or lower than 2 pixels"),
        (
            lambda a, b, c, d: f"0 {a + 0.1:.6f} .5 .1 .1\n0 {a + 0.101:.6f} .5 .1 .1\n",
            None,  # nearly the same is not the same
        ),
        (lambda a, b, c, d: f"0 {(a + c) / 2} {(b + d) / 2} {c - a} {d - b}\n", None),
    ],
    ids=["corners", "whole", "thin", "near", "right"],
)
def test_h_boxes_that_are_rarely_meant_are_remarked(
    line: Callable[[float, float, float, float], str],
    words: str | None,
    tmp_path: Path,
    home: Path,
) -> None:
    write_lines(tmp_path, line)
    found = [
        remark
        for remark in report("yolo", tmp_path, home)["train"]["remarks"]
        if "no label file" not in remark
    ]
    assert (words is None) == (not found), found
    assert words is None or any(words in remark for remark in found)


def test_h_a_set_without_objects_is_remarked(tmp_path: Path, home: Path) -> None:
    ultralytics(tmp_path)
    for file in (tmp_path / "labels" / "train").iterdir():
        file.write_text("")
    assert "no object at all" in report("yolo", tmp_path, home)["train"]["remarks"]
