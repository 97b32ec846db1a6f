"""Annotations in VOC's XML of a lab's own: layouts of real tools, lists, what is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from bench.core.errors import BadData
from bench.data.scenes.boxes import annotation_xml, object_xml
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
BOX = (1, 2, 20, 30)


def put(annotations: Path, images: Path, those: Sequence[Picture], suffix: str = ".jpg") -> None:
    """Pictures and their XML, whose corners count from 1."""
    for p in those:
        objects = [object_xml(n, (x1 + 1, y1 + 1, x2, y2)) for n, x1, y1, x2, y2 in p.boxes]
        save(images / f"{p.name}{suffix}", p)
        put_text(annotations / f"{p.name}.xml", annotation_xml(p.name, p.size, objects))


def lines(those: Sequence[Picture], before: str = "", after: str = "") -> str:
    return "".join(f"{before}{p.name}{after}\n" for p in those)


def year(root: Path) -> None:
    """VOC's own: a folder of any year in VOCdevkit/, lists in ImageSets/Main/."""
    base = root / "VOCdevkit" / "VOC2031"
    put(base / "Annotations", base / "JPEGImages", [*TRAIN, *VAL])
    put_text(base / "ImageSets" / "Main" / "train.txt", lines(TRAIN))
    put_text(base / "ImageSets" / "Main" / "val.txt", lines(VAL))
    put_text(base / "ImageSets" / "Main" / "pallet_train.txt", lines(TRAIN, after=" -1"))


def no_year(root: Path) -> None:
    """No year; images/ of another kind; lists with suffixes; train is called trainval."""
    put(root / "Annotations", root / "images", [*TRAIN, *VAL], ".PNG")
    put_text(root / "ImageSets" / "Main" / "trainval.txt", lines(TRAIN, after=".PNG"))
    put_text(root / "ImageSets" / "Main" / "test.txt", lines(VAL, before="images/", after=".PNG"))


def roboflow(root: Path) -> None:
    """A folder for each split, XML beside the images."""
    put(root / "train", root / "train", TRAIN)
    put(root / "valid", root / "valid", VAL)


def cvat(root: Path) -> None:
    """One list `default`, images and annotations in folders of their own below."""
    inner = [Picture(f"cam 1/{p.name}", p.size, p.boxes) for p in TRAIN]
    put(root / "Annotations", root / "JPEGImages", inner, ".png")
    put_text(root / "ImageSets" / "Main" / "default.txt", lines(inner))
    put_text(root / "labelmap.txt", "# label:color_rgb:parts:actions\n")


def label_img(root: Path) -> None:
    """No list: every annotated image is train, an image without XML is none."""
    put(root, root, TRAIN, ".bmp")
    save(root / "not yet.bmp", Picture("not yet", (20, 20), ()))


def tensorflow(root: Path) -> None:
    """The tutorial's images/train and images/test, XML beside the images."""
    put(root / "images" / "train", root / "images" / "train", TRAIN)
    put(root / "images" / "test", root / "images" / "test", VAL)


@pytest.mark.parametrize("write", [year, no_year, roboflow, tensorflow, cvat, label_img])
def test_layouts_of_tools_are_found(
    write: Callable[[Path], None], tmp_path: Path, home: Path
) -> None:
    root = tmp_path / "set"
    write(root)
    train = open_set("voc_layout", root, home)
    assert train.classes == sorted({b[0] for p in TRAIN for b in p.boxes})
    check_truth(train, TRAIN)
    if write in (year, no_year, roboflow, tensorflow):
        check_truth(open_set("voc_layout", root, home, "val"), VAL)
    else:
        with pytest.raises(BadData, match="has no val of voc_layout"):
            open_set("voc_layout", root, home, "val")


def test_images_without_annotations_are_counted(tmp_path: Path, home: Path) -> None:
    label_img(tmp_path)
    (remark,) = report("voc_layout", tmp_path, home)["train"]["remarks"]
    assert remark == "1 image has no annotation and is left out, the first is not yet.bmp"


def test_lists_folders_and_files_can_be_named(tmp_path: Path, home: Path) -> None:
    year(tmp_path)
    put_text(tmp_path / "mine.txt", lines([TRAIN[0], VAL[0]]))
    check_truth(open_set("voc_layout", tmp_path, home, train="mine.txt"), [TRAIN[0], VAL[0]])
    both = {"train": "train+val", "val": "mine.txt"}
    check_truth(open_set("voc_layout", tmp_path, home, **both), [*TRAIN, *VAL])
    check_truth(open_set("voc_layout", tmp_path, home, "val", **both), [TRAIN[0], VAL[0]])
    roboflow(tmp_path / "flat")
    turned = {"train": "valid", "val": "train"}
    check_truth(open_set("voc_layout", tmp_path / "flat", home, **turned), VAL)


def test_corners_are_fractions_and_may_count_from_0(tmp_path: Path, home: Path) -> None:
    picture = Picture("a", (64, 48), (("pallet", 0.25, 10.5, 30.125, 20),))
    save(tmp_path / "a.png", picture)
    xml = annotation_xml("a", (64, 48), [object_xml("pallet", (0.25, 10.5, 30.125, 20))])
    put_text(tmp_path / "a.xml", xml)
    check_truth(open_set("voc_layout", tmp_path, home, origin=0), [picture])
    assert report("voc_layout", tmp_path, home, origin=0)["train"]["remarks"] == []
    images = open_set("voc_layout", tmp_path, home)
    assert images.objects(0).boxes.tolist() == [[0, 9.5, 30.125, 20]]
    (remark,) = report("voc_layout", tmp_path, home)["train"]["remarks"]
    assert remark.endswith("say --set voc_layout.origin=0")


def test_classes_are_those_of_both_splits_or_of_the_setting(tmp_path: Path, home: Path) -> None:
    no_year(tmp_path)
    xml = annotation_xml("x", VAL[0].size, [object_xml("palet", BOX)])
    put_text(tmp_path / "Annotations" / "val 0.xml", xml)
    val = open_set("voc_layout", tmp_path, home, "val")
    assert val.classes == sorted([*NAMES, "palet"])
    (remark,) = report("voc_layout", tmp_path, home)["val"]["remarks"]
    assert remark.startswith("class 'palet' is not in train (is it 'pallet'?)")
    (line,) = refusal("voc_layout", tmp_path, home / "other", classes=NAMES)
    assert "object 1 is a 'palet', none of the 3 classes (did you mean 'pallet'?)" in line
    order = (*NAMES[::-1], "palet")
    train = open_set("voc_layout", tmp_path, home, classes=order)
    assert train.classes == list(order)
    check_truth(train, TRAIN)


def test_ids_stay_when_other_images_come(tmp_path: Path, home: Path) -> None:
    year(tmp_path)
    before = open_set("voc_layout", tmp_path, home)
    ids = {before.file(i).name: int(before.ids[i]) for i in range(len(before))}
    more = Picture("aaa", (30, 30), (("person", 1, 1, 9, 9),))
    base = tmp_path / "VOCdevkit" / "VOC2031"
    put(base / "Annotations", base / "JPEGImages", [more])
    put_text(base / "ImageSets" / "Main" / "train.txt", lines([more, *TRAIN]))
    after = open_set("voc_layout", tmp_path, home)
    assert len(after) == len(before) + 1
    assert ids.items() <= {after.file(i).name: int(after.ids[i]) for i in range(5)}.items()
    assert len(np.unique([i for k in range(5) for i in after.objects(k).ids])) == 7


def test_the_key_is_of_the_content(tmp_path: Path, home: Path) -> None:
    given, data = runtime(home), component("voc_layout")
    year(tmp_path / "set")
    first = data.stage(tmp_path / "set", given).key
    (tmp_path / "set").rename(tmp_path / "other")
    base = tmp_path / "other" / "VOCdevkit" / "VOC2031"
    put_text(base / "Annotations" / "more.xml", "not listed")
    assert data.stage(tmp_path / "other", given).key == first
    xml = base / "Annotations" / f"{VAL[0].name}.xml"
    xml.write_text(xml.read_text().replace("pallet", "person"))
    assert data.stage(tmp_path / "other", given).key != first


def _write(root: Path, name: str, text: str) -> Callable[[], object]:
    return lambda: put_text(root / name, text)


@pytest.mark.parametrize(
    ("file", "text", "says"),
    [
        (
            "Annotations/train 0.xml",
            annotation_xml(
                "x",
                (64, 48),
                [object_xml("a", (9, 1, 2, 3)), object_xml("", BOX), object_xml("b", BOX, 2)],
            ),
            ["object 1: xmin 9 is larger", "object 2 has no name", "object 3: difficult must be"],
        ),
        ("Annotations/train 1.xml", annotation_xml("x", (48, 41), []), ["is 48x40 but"]),
        ("Annotations/train 1.xml", "<annotation>", ["cannot be read"]),
        ("Annotations/lonely.xml", annotation_xml("x", (9, 9), []), []),
        (
            "ImageSets/Main/trainval.txt",
            "train 0\nnone\n/data/train 1\n../train 2\n",
            [
                "line 2: 'none'",
                "line 3: '/data/train 1' is absolute",
                "line 4: '../train 2' leads out",
            ],
        ),
        (
            "ImageSets/Main/trainval.txt",
            "train 0  1\ntrain 1 -1\n",
            ["is it a list of one class?"] * 2,
        ),
        (
            "ImageSets/Main/trainval.txt",
            "train 0\ntrain 1\ntrain 0.png\n",
            ["line 3: train 0 is there twice"],
        ),
        ("ImageSets/Main/trainval.txt", "\n", ["split train is empty"]),
        ("ImageSets/Main/test.txt", "val 0\nnew\n", ["'new' has no annotation"]),
        ("images/train 0.jpg", "two", ["train 0.xml has 2 images"]),
    ],
)
def test_every_fault_is_a_line_and_nothing_is_made(
    file: str, text: str, says: list[str], tmp_path: Path, home: Path
) -> None:
    no_year(tmp_path)
    put_text(tmp_path / file, text)
    if not says:  # no list names it
        assert len(open_set("voc_layout", tmp_path, home)) == len(TRAIN)
        return
    found = refusal("voc_layout", tmp_path, home)
    assert len(found) == len(says)
    for line, said in zip(found, says, strict=True):
        assert said in line


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"train": "trainvall"},
            "unknown list of voc_layout.train 'trainvall' (did you mean 'trainval'?)",
        ),
        (
            {"train": "trainval", "val": "../x.txt"},
            "voc_layout.val: '../x.txt' leads out of its folder",
        ),
    ],
)
def test_settings_that_name_nothing(
    settings: dict[str, str], says: str, tmp_path: Path, home: Path
) -> None:
    no_year(tmp_path)
    (line,) = refusal("voc_layout", tmp_path, home, **settings)
    assert says in line


def test_lists_without_a_plain_choice(tmp_path: Path, home: Path) -> None:
    (line,) = refusal("voc_layout", tmp_path, home)
    assert "no annotation (.xml) in" in line
    put(tmp_path / "Annotations", tmp_path / "images", TRAIN)
    for name in ("first", "second"):
        put_text(tmp_path / "ImageSets" / "Main" / f"{name}.txt", lines(TRAIN))
    (line,) = refusal("voc_layout", tmp_path, home)
    assert "say which is which: --set voc_layout.train=first" in line
    assert set(NAMES) >= set(open_set("voc_layout", tmp_path, home, train="first").classes)


@pytest.mark.parametrize(
    ("folder", "what"),
    [
        ("VOCdevkit/VOC2015", "the annotation VOCdevkit/VOC2015/Annotations/a.xml"),
        ("VOC2015", "the annotation VOC2015/Annotations/a.xml"),
        ("", "the annotation Annotations/a.xml"),
        ("export/train", "the annotation export/train/Annotations/a.xml"),
    ],
)
@pytest.mark.parametrize("name", ["voc2007", "voc2012", "voc2012_seg", "voc0712"])
def test_official_sets_look_at_what_is_there_before_they_offer_a_download(
    name: str, folder: str, what: str, tmp_path: Path
) -> None:
    root = tmp_path / "data"
    put_text(root / folder / "Annotations" / "a.xml", "<annotation/>")
    put_text(root / folder / "JPEGImages" / "a.jpg", "")
    (line,) = refusal(name, root, tmp_path / "home")
    assert line.startswith("no VOC20")
    assert line.endswith(f"but it has {what}; try: --data voc_layout={root}")


@pytest.mark.parametrize(
    ("name", "there", "says"),
    [
        ("voc2007", "VOC2012", "but it has the folder VOC2012/; try: --data voc2012="),
        ("voc2012", "VOC2007", "but it has the folder VOC2007/; try: --data voc2007="),
        ("voc0712", "VOC2012", "get "),  # the other half is missing
        ("voc2007", "VOC2010", "try: --data voc_layout="),
        ("voc2007", "nothing", "get VOCtrainval_06-Nov-2007.tar"),
    ],
)
def test_another_year_is_named(name: str, there: str, says: str, tmp_path: Path) -> None:
    root = tmp_path / "data"
    root.mkdir()
    if there != "nothing":
        put_text(root / there / "Annotations" / "a.xml", "<annotation/>")
        for listed in ("train", "trainval"):
            put_text(root / there / "ImageSets" / "Main" / f"{listed}.txt", "a\n")
    (line,) = refusal(name, root, tmp_path / "home")
    assert says in line
    assert ("voc_layout" in line) == (there == "VOC2010")


def test_a_year_without_lists_is_voc_layout(tmp_path: Path) -> None:
    root = tmp_path / "data"
    put_text(root / "VOC2007" / "Annotations" / "a.xml", "<annotation/>")
    (line,) = refusal("voc2007", root, tmp_path / "home")
    assert line.startswith("VOC2007/ImageSets in ")
    assert line.endswith(f"try: --data voc_layout={root}")


@pytest.mark.parametrize("name", ["yolo", "coco_json"])
def test_sets_of_other_layouts_say_that_it_is_voc_layout(name: str, tmp_path: Path) -> None:
    root = tmp_path / "data"
    put_text(root / "train" / "a.xml", "<annotation/>")
    (line,) = refusal(name, root, tmp_path / "home")
    assert line.endswith(f"but it has the annotation train/a.xml; try: --data voc_layout={root}")


@pytest.mark.parametrize(
    ("boxes", "remark"),
    [
        (((1, 1, 64, 48), (2, 1, 64, 48)), "2 of 2 boxes are their whole image"),
        (((5, 5, 5, 30), (9, 9, 30, 9)), "2 of 2 boxes are narrower or lower than 2 pixels"),
        ((BOX, BOX), "1 of 2 objects have image, class and box of an earlier one"),
        (
            ((20, 2, 90, 30), (5, 9, 70, 40)),
            "were the annotations made on images of another",
        ),
        ((), "no object at all"),
        ((BOX, (2, 2, 20, 30)), None),
    ],
)
def test_h_boxes_that_are_rarely_meant_are_remarked(
    boxes: Sequence[tuple[float, ...]], remark: str | None, tmp_path: Path, home: Path
) -> None:
    save(tmp_path / "a.png", Picture("a", (64, 48), ()))
    xml = annotation_xml("a", (64, 48), [object_xml("pallet", box) for box in boxes])
    put_text(tmp_path / "a.xml", xml)
    found = report("voc_layout", tmp_path, home)["train"]["remarks"]
    assert len(found) == (remark is not None)
    assert remark is None or remark in found[0]
