"""COCO files of a lab's own: layouts of real tools, names of files, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.core.errors import BadData
from tests.data.folders import component, make, runtime
from tests.data.own import (
    NAMES,
    check_truth,
    coco,
    open_set,
    pictures,
    put_json,
    refusal,
    save,
)

TRAIN, VAL = pictures("train"), pictures("val")


def roboflow(root: Path) -> None:
    """A folder for each split with its images and `_annotations.coco.json`; ids from 0."""
    for folder, those in (("train", TRAIN), ("valid", VAL)):
        for p in those:
            save(root / folder / f"{p.name}.jpg", p)
        files = {f"{p.name}.jpg": p for p in those}
        put_json(root / folder / "_annotations.coco.json", coco(files, first=0))


def cvat(root: Path) -> None:
    """`annotations/instances_SUBSET.json` and `images/SUBSET/`."""
    for subset, those in (("train", TRAIN), ("validation", VAL)):
        for p in those:
            save(root / "images" / subset / f"{p.name}.png", p)
        files = {f"{p.name}.png": p for p in those}
        put_json(root / "annotations" / f"instances_{subset}.json", coco(files))


def label_studio(root: Path) -> None:
    """One `result.json` in which file names hold the folder, with the exporter's backslashes."""
    for p in TRAIN:
        save(root / "images" / f"{p.name}.png", p)
    put_json(root / "result.json", coco({f"images\\{p.name}.png": p for p in TRAIN}, first=0))


def cvat_one(root: Path) -> None:
    """A task without subsets: `instances_default.json`, images in folders of `images/`."""
    for p in TRAIN:
        save(root / "images" / "cam 1" / f"{p.name}.png", p)
    files = {f"cam 1/{p.name}.png": p for p in TRAIN}
    put_json(root / "annotations" / "instances_default.json", coco(files))


def fiftyone(root: Path) -> None:
    """`SPLIT/data/` and `SPLIT/labels.json`."""
    for split, those in (("train", TRAIN), ("validation", VAL)):
        for p in those:
            save(root / split / "data" / f"{p.name}.png", p)
        files = {f"{p.name}.png": p for p in those}
        put_json(root / split / "labels.json", coco(files))


@pytest.mark.parametrize("write", [roboflow, cvat, label_studio, cvat_one, fiftyone])
def test_layouts_of_tools_are_found(
    write: Callable[[Path], None], tmp_path: Path, home: Path
) -> None:
    write(tmp_path / "set")
    check_truth(open_set("coco_json", tmp_path / "set", home), TRAIN)
    if write in (roboflow, cvat, fiftyone):
        check_truth(open_set("coco_json", tmp_path / "set", home, "val"), VAL)
    else:
        with pytest.raises(BadData, match="has no val of coco_json"):
            open_set("coco_json", tmp_path / "set", home, "val")


def write_any(root: Path, name: Callable[[str], str] = lambda n: f"{n}.png") -> None:
    """Files of any name: `ours/all boxes.json`, `ours/other.json`, pictures in `pics/`."""
    for p in (*TRAIN, *VAL):
        save(root / "pics" / f"{p.name}.png", p)
    put_json(root / "ours" / "all boxes.json", coco({name(p.name): p for p in TRAIN}))
    put_json(root / "ours" / "other.json", coco({name(p.name): p for p in VAL}))


def test_any_names_are_read_where_settings_name_them(tmp_path: Path, home: Path) -> None:
    write_any(tmp_path)
    settings = {"train": "ours/all boxes.json:pics", "val": "ours/other.json:pics"}
    check_truth(open_set("coco_json", tmp_path, home, **settings), TRAIN)
    check_truth(open_set("coco_json", tmp_path, home, "val", **settings), VAL)
    only = {"train": "ours/other.json:pics"}
    check_truth(open_set("coco_json", tmp_path, home, **only), VAL)


def test_classes_are_joined_by_name_whatever_the_order(tmp_path: Path, home: Path) -> None:
    write_any(tmp_path)
    turned = coco({f"{p.name}.png": p for p in VAL}, names=NAMES[::-1], first=7)
    put_json(tmp_path / "ours" / "other.json", turned)
    settings = {"train": "ours/all boxes.json:pics", "val": "ours/other.json:pics"}
    val = open_set("coco_json", tmp_path, home, "val", **settings)
    assert val.classes == list(NAMES)
    check_truth(val, VAL)


def test_the_key_is_of_the_content(tmp_path: Path, home: Path) -> None:
    """A moved folder keeps it; other files in it have no influence; sizes, names and annotations
    of the images that are listed have."""
    given = runtime(home)

    def key() -> str:
        return component("coco_json").stage(tmp_path / "set", given).key

    roboflow(tmp_path / "set")
    first = key()
    (tmp_path / "set" / "train" / "more.png").write_bytes(b"not listed")
    assert key() == first
    (tmp_path / "set").rename(tmp_path / "other")
    assert component("coco_json").stage(tmp_path / "other", given).key == first
    (tmp_path / "other").rename(tmp_path / "set")
    image = tmp_path / "set" / "valid" / f"{VAL[0].name}.jpg"
    whole = image.read_bytes()
    image.write_bytes(whole + b"\0")
    assert key() != first
    image.write_bytes(whole)
    assert key() == first
    file = tmp_path / "set" / "train" / "_annotations.coco.json"
    content = json.loads(file.read_text())
    content["annotations"][0]["bbox"][2] -= 1
    put_json(file, content)
    assert key() != first


def _edit(root: Path, change: Callable[[dict[str, Any]], None]) -> None:
    file = root / "train" / "_annotations.coco.json"
    content = json.loads(file.read_text())
    change(content)
    put_json(file, content)


def _rename(prefix: str) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        for image in content["images"]:
            image["file_name"] = prefix + image["file_name"]

    return change


@pytest.mark.parametrize(
    ("change", "count", "says"),
    [
        (_rename("/data/"), 4, "file_name '/data/train 0.jpg' is absolute"),
        (_rename("C:\\pics\\"), 4, "file_name 'C:\\\\pics\\\\train 0.jpg' is absolute"),
        (_rename("../"), 4, "file_name '../train 0.jpg' leads out of its folder"),
        (_rename("other/"), 1, "say where: --set coco_json.train="),
        (
            lambda c: [
                i.update(file_name=f"gone {n}.jpg") for n, i in enumerate(c["images"]) if n
            ],
            3,
            "image train/gone 1.jpg is not there",
        ),
        (
            lambda c: c["images"][1].update(file_name="./train 0.jpg"),
            1,
            "images 0 and 1 both have the file 'train/train 0.jpg'",
        ),
        (lambda c: c["images"][1].update(file_name="TRAIN 1.jpg"), 1, "train 1.jpg is, in other"),
        (lambda c: [a.update(bbox=[1, 2, -3, 4]) for a in c["annotations"]], 6, "negative"),
        (lambda c: c["categories"].pop(), 2, "names image 1 and category 2"),
        (lambda c: c.clear(), 1, "not a COCO instances file"),
    ],
)
def test_every_fault_is_a_line_and_nothing_is_made(
    change: Callable[[dict[str, Any]], None], count: int, says: str, tmp_path: Path, home: Path
) -> None:
    roboflow(tmp_path / "set")
    _edit(tmp_path / "set", change)
    lines = refusal("coco_json", tmp_path / "set", home)
    assert len(lines) == count
    assert says in lines[0]
    assert str(tmp_path / "set" / "train" / "_annotations.coco.json") in lines[0]


def test_a_class_of_val_that_train_lacks_is_refused(tmp_path: Path, home: Path) -> None:
    roboflow(tmp_path)
    _edit(tmp_path, lambda c: c["categories"][1].update(name="forklift"))
    (line,) = refusal("coco_json", tmp_path, home)
    assert "'fork lift' has objects" in line
    assert "did you mean 'forklift'?" in line


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"train": "train/_anotations.coco.json"}, "=train/_annotations.coco.json"),
        ({"train": "train/_annotations.coco.json:pics"}, "there is no folder 'pics'"),
        ({"train": "/tmp/x.json"}, "coco_json.train: '/tmp/x.json' is absolute"),
        ({"train": "../x.json"}, "leads out of its folder"),
    ],
)
def test_settings_that_name_nothing(
    settings: dict[str, str], says: str, tmp_path: Path, home: Path
) -> None:
    roboflow(tmp_path)
    (line,) = refusal("coco_json", tmp_path, home, **settings)
    assert says in line


def test_folders_without_a_plain_choice(tmp_path: Path, home: Path) -> None:
    (line,) = refusal("coco_json", tmp_path / "nowhere", home)
    assert "no folder at" in line
    (tmp_path / "pics").mkdir()
    (line,) = refusal("coco_json", tmp_path, home)
    assert "no COCO file (.json)" in line
    write_any(tmp_path)
    (line,) = refusal("coco_json", tmp_path, home)
    assert "--set coco_json.train=ours/all boxes.json --set coco_json.val=ours/other.json" in line


def test_coco_looks_at_what_is_there_before_it_offers_a_download(
    tmp_path: Path, home: Path
) -> None:
    roboflow(tmp_path)
    with pytest.raises(BadData) as caught:
        make(component("coco"), tmp_path, runtime(home))
    assert str(caught.value) == (
        f"COCO at {tmp_path} has no folder train2017/; but it has the COCO file "
        f"train/_annotations.coco.json and 1 more; try: --data coco_json={tmp_path}"
    )
