"""PASCAL VOC in its official layout: boxes, ids, image sets, masks,
labels, what bad folders say."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from PIL import Image

from bench.contracts.images import ImageSet
from bench.core.errors import BadData, BadInput, BenchError
from bench.data.layouts import voc as _voc
from bench.data.semantic import image_labels, read_classes
from tests.data import folders, voc_folders
from tests.data.folders import component, make, runtime, split
from tests.data.voc_folders import (
    PART,
    Photo,
    mask,
    thing,
    write_2007,
    write_2012,
    write_mask,
    write_year,
)

CLASSES = [
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
]


@pytest.fixture
def devkit(tmp_path: Path) -> Path:
    return write_2012(tmp_path / "VOCdevkit")


def report_of(data: Any, root: Path, home: Path) -> dict[str, Any]:
    return json.loads((make(data, root, runtime(home))[1] / "report.json").read_text())


@pytest.mark.parametrize("workers", [0, 2])
def test_the_index_is_the_xml(devkit: Path, home: Path, workers: int) -> None:
    images = split(component("voc2012"), devkit, home, workers=workers)
    assert images.classes == CLASSES == sorted(CLASSES)
    assert images.ids.tolist() == [2007000032, 2008000012, 2011003000]
    assert images.ids.dtype == np.int64
    assert images.sizes.tolist() == [[50, 44], [60, 40], [64, 48]]
    assert images.file(1) == devkit / "VOC2012/JPEGImages/2008_000012.jpg"
    assert all(images.image(i).shape == (*images.sizes[i][::-1], 3) for i in range(3))
    objects = images.objects(1)
    # 1-based, both corners inside: columns 5..30 are the pixels 4..29, so [4, 30)
    assert objects.boxes.tolist() == [[4, 4, 30, 20], [0, 0, 60, 40]]
    assert objects.boxes.dtype == np.float32
    assert objects.labels.tolist() == [CLASSES.index("person"), CLASSES.index("dog")]
    assert objects.difficult.tolist() == [False, True]
    assert objects.crowd.tolist() == [False, False]
    assert objects.area.tolist() == [26 * 16, 2400]
    assert objects.ids.tolist() == [20080000120001, 20080000120002]
    assert objects.segmentations is None
    assert objects.keypoints is None
    one = images.objects(0)
    assert one.boxes.tolist() == [[10, 20, 11, 30]], "xmin = xmax is one pixel wide"
    assert one.difficult.tolist() == [False], "an annotation without the flag"
    assert images.objects(2).boxes.shape == (0, 4)


def test_repairs_are_counted(tmp_path: Path, home: Path) -> None:
    photo = Photo(
        "2010_000001",
        [
            # floats, as some of 2011 have
            thing("car", ("45.70000076293945", "5.5", "50.2", "20")),
            thing("car", (0, 0, 20, 20)),  # begins before the first pixel
            thing("car", (50, 30, 61, 45), difficult=1),  # over two borders
            thing("car", (1, 1, "60.3", 40)),  # 0.3 pixel: not counted as a repair
            thing("car", (30, 10, 29, 20)),  # no width: columns 30..29
            thing("car", (70, 10, 80, 20)),  # beyond the image
        ],
    )
    root = write_2012(tmp_path / "VOCdevkit", photo)
    report = report_of(component("voc2012"), root, home)
    assert report == {
        "train": {
            "images": 4,
            "objects": 7,
            "difficult": 2,
            "clipped": 2,
            "dropped": 2,
            "masks": 2,
            "remarks": [],
        },
        "val": {
            "images": 2,
            "objects": 3,
            "difficult": 1,
            "clipped": 0,
            "dropped": 0,
            "masks": 1,
            "remarks": [],
        },
    }
    images = split(component("voc2012"), root, home)
    objects = images.objects(images.ids.tolist().index(2010000001))
    expected = [[44.70000076, 4.5, 50.2, 20], [0, 0, 20, 20], [49, 29, 60, 40], [0, 0, 60, 40]]
    np.testing.assert_allclose(objects.boxes, expected, rtol=1e-6)
    np.testing.assert_allclose(
        objects.area, [(50.2 - 44.70000076) * 15.5, 400, 121, 2400], rtol=1e-6
    )
    assert objects.ids.tolist() == [20100000010000 + n for n in (1, 2, 3, 4)]


def test_masks_are_class_indices(devkit: Path, home: Path) -> None:
    images = split(component("voc2012"), devkit, home)
    assert images.has_semantic().tolist() == [False, True, True]
    assert images.has_semantic().dtype == bool
    assert images.semantic(0) is None
    for again in (images, pickle.loads(pickle.dumps(images))):
        found = again.semantic(1)
        assert found is not None
        assert found.dtype == np.uint8
        assert np.array_equal(found, mask((60, 40), (15, 4, 4, 30, 20), (255, 4, 4, 30, 5)))
    empty = images.semantic(2)
    assert empty is not None
    assert empty.shape == (48, 64)
    assert not empty.any()


def test_a_grey_mask_is_its_levels(tmp_path: Path) -> None:
    made = mask((9, 7), (20, 1, 1, 5, 5), (255, 5, 5, 9, 7))
    Image.fromarray(made).save(tmp_path / "grey.png")
    assert np.array_equal(read_classes(tmp_path / "grey.png"), made)
    few = Image.fromarray(mask((9, 7), (3, 1, 1, 5, 5)), mode="P")
    few.putpalette(voc_folders.COLOURS[:48])
    few.save(tmp_path / "bits.png", bits=4)
    assert np.array_equal(read_classes(tmp_path / "bits.png"), mask((9, 7), (3, 1, 1, 5, 5)))


def test_sets_without_semantic_masks_say_so(tmp_path: Path, home: Path) -> None:
    for images in (
        split(component("coco"), folders.write(tmp_path / "coco"), home),
        split(component("voc2007"), write_2007(tmp_path), home),
    ):
        assert images.has_semantic().tolist() == [False] * len(images)
        assert images.semantic(0) is None


def test_image_labels(devkit: Path, home: Path) -> None:
    def named(images: ImageSet, value: int) -> list[list[str]]:
        table = image_labels(images)
        assert table.dtype == np.int8
        assert table.shape == (len(images), 20)
        return [[CLASSES[k] for k in np.flatnonzero(row == value)] for row in table]

    train = split(component("voc2012"), devkit, home)
    assert named(train, 1) == [["tvmonitor"], ["person"], []]
    assert named(train, 0) == [[], ["dog"], []], "only as a difficult object"
    val = split(component("voc2012"), devkit, home, "val")
    assert named(val, 1) == [["cat"], ["aeroplane"]], "one of two cats is difficult"
    assert named(val, 0) == [[], []]
    assert (image_labels(val) == -1).sum() == 38


def key(root: Path | None, home: Path, name: str = "voc2012", **params: Any) -> str:
    return component(name, **params).stage(root, runtime(home)).key


def test_any_of_three_folders(devkit: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = runtime(home)
    keys = set()
    for place in (devkit, devkit.parent, devkit / "VOC2012"):
        stage = component("voc2012").stage(place, given)
        assert given.roots[stage.key] == devkit
        keys.add(stage.key)
    monkeypatch.setenv("BENCH_DATA", str(devkit.parent))
    assert {key(None, home)} == keys
    assert len(keys) == 1


def test_val_of_2007_is_its_test_set(tmp_path: Path, home: Path) -> None:
    root = write_2007(tmp_path / "VOCdevkit")
    assert split(component("voc2007"), root, home).ids.tolist() == [5, 32]
    val = split(component("voc2007"), root, home, "val")
    assert val.ids.tolist() == [1]
    assert val.objects(0).boxes.tolist() == [[47, 23, 60, 37]]
    with pytest.raises(BadData, match="splits train and val, not 'test'"):
        split(component("voc2007"), root, home, "test")


def test_train_alone_is_enough_and_val_is_then_an_error(tmp_path: Path, home: Path) -> None:
    root = write_2007(tmp_path / "VOCdevkit", test=False)
    assert list(report_of(component("voc2007"), root, home)) == ["train"]
    with pytest.raises(
        BadData, match=r"no image set 'test', the val of voc2007; get .*VOCtest_06-Nov-2007"
    ):
        split(component("voc2007"), root, home, "val")


def test_two_years(tmp_path: Path, home: Path) -> None:
    root = write_2007(tmp_path / "VOCdevkit")
    write_2012(root, trainval=["2008_000012", "2007_000032"])
    images = split(component("voc0712"), root, home)
    assert images.ids.tolist() == [5, 32, 2007000032, 2008000012], (
        "000032 and 2007_000032 are two images"
    )
    assert [images.file(i).relative_to(root).as_posix() for i in (1, 2)] == [
        "VOC2007/JPEGImages/000032.jpg",
        "VOC2012/JPEGImages/2007_000032.jpg",
    ]
    assert images.has_semantic().tolist() == [False, False, False, True]
    assert [images.classes[k] for i in range(4) for k in images.objects(i).labels] == [
        "chair",
        "person",
        "tvmonitor",
        "person",
        "dog",
    ]
    assert split(component("voc0712"), root, home, "val").ids.tolist() == [1]
    other = component("voc0712", train="2012/Segmentation/train+2007/train", val="2012/val")
    assert split(other, root, home).ids.tolist() == [5, 2008000012, 2011003000]
    assert split(other, root, home, "val").ids.tolist() == [2009000001, 2009000002]
    assert len({key(place, home, "voc0712") for place in (root, tmp_path, root / "VOC2012")}) == 1


def test_other_image_sets(devkit: Path, home: Path) -> None:
    write_year(devkit, "2012", [], {"extra2007": ["2007_000032"]})
    data = component("voc2012", train="extra2007", val="Segmentation/val")
    assert split(data, devkit, home).ids.tolist() == [2007000032]
    assert split(data, devkit, home, "val").ids.tolist() == [2009000002]
    joined = component("voc2012", train="val+extra2007")
    assert split(joined, devkit, home).ids.tolist() == [2007000032, 2009000001, 2009000002]
    assert list(report_of(component("voc2012", val="test"), devkit, home)) == ["train"]


def fails(data: Any, root: Path | None, home: Path, kind: type[BenchError] = BadData) -> str:
    """The one line that making the stage of a bad folder ends with."""
    with pytest.raises(kind) as caught:
        make(data, root, runtime(home))
    text = str(caught.value)
    assert "\n" not in text
    assert caught.value.exit_code == 2
    return text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"train": "trian"},
            "unknown image set of voc2012.train 'trian' (did you mean 'train'?); known: Segm",
        ),
        ({"val": "vall"}, "unknown image set of voc2012.val 'vall' (did you mean 'val'?)"),
        ({"train": "cat_train"}, "unknown image set of voc2012.train 'cat_train'"),
        ({"train": "../Main/train"}, "unknown image set of voc2012.train '../Main/train'"),
        (
            {"train": "train+Segmentation/train"},
            "VOC2012/JPEGImages/2008_000012.jpg is listed twice",
        ),
    ],
)
def test_image_sets_that_cannot_be(
    devkit: Path, home: Path, settings: dict[str, Any], message: str
) -> None:
    assert message in fails(component("voc2012", **settings), devkit, home, BadInput)


def test_a_part_without_a_year(tmp_path: Path, home: Path) -> None:
    root = write_2012(write_2007(tmp_path / "VOCdevkit"))
    text = fails(component("voc0712", train="trainval"), root, home, BadInput)
    assert "voc0712.train: 'trainval' starts with none of the years 2007, 2012; try: --set" in text


def test_no_image_set_to_train_on(devkit: Path, home: Path) -> None:
    text = fails(component("voc2012", train="trainval"), devkit, home)
    assert (
        f"{devkit} has no image set 'trainval', the train of voc2012; get VOCtrainval_11" in text
    )
    (devkit / "VOC2012/ImageSets/Main/train.txt").write_text("\n")
    assert "voc2012 split train is empty: no images of train in" in fails(
        component("voc2012"), devkit, home
    )


@pytest.mark.parametrize(
    "line", ["2008_12", "000012.jpg", "0005", "2008_000012 1", "../000012", "0001_000012"]
)
def test_names_that_are_none(devkit: Path, home: Path, line: str) -> None:
    file = devkit / "VOC2012/ImageSets/Main/train.txt"
    file.write_text(f"2008_000012\n{line}\n")
    text = fails(component("voc2012"), devkit, home)
    assert (
        f"image set {file} holds {line!r}, which is not a name like 000005 or 2007_000032" in text
    )


def test_a_name_twice(devkit: Path, home: Path) -> None:
    file = devkit / "VOC2012/ImageSets/Main/val.txt"
    file.write_text("2009_000001\n2009_000002\n2009_000001\n")
    assert f"image set {file} lists 2009_000001 twice" in fails(component("voc2012"), devkit, home)


def test_no_folder(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = fails(component("voc2012"), tmp_path / "none", home)
    assert f"no VOC2012/ in {tmp_path / 'none'}; get VOCtrainval_11-May-2012.tar (2 GB)" in text
    assert "--data voc2012=PATH" in text
    assert "no path is known for data 'voc2007'" in fails(component("voc2007"), None, home)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    assert f"no VOC2007/ in {tmp_path / 'VOCdevkit'};" in fails(component("voc2007"), None, home)
    write_2012(tmp_path / "VOCdevkit")
    assert f"no VOC2007/ in {tmp_path / 'VOCdevkit'};" in fails(component("voc0712"), None, home)
    assert "no VOC2012/ in" in fails(component("voc2012"), tmp_path / "VOCdevkit/typo", home)


@pytest.mark.parametrize(
    ("folder", "name"), [("JPEGImages", "2008_000012.jpg"), ("Annotations", "2009_000001.xml")]
)
def test_a_missing_file(devkit: Path, home: Path, folder: str, name: str) -> None:
    (devkit / "VOC2012" / folder / name).unlink()
    text = fails(component("voc2012"), devkit, home)
    assert f"{devkit / 'VOC2012' / folder} lacks 1 of 5 files" in text
    assert f"the first is {name}; unpack the VOC2012 archives again" in text


def test_a_missing_mask_matters_where_masks_were_asked_for(devkit: Path, home: Path) -> None:
    (devkit / "VOC2012/SegmentationClass/2008_000012.png").unlink()
    assert split(component("voc2012"), devkit, home).has_semantic().tolist() == [
        False,
        False,
        True,
    ]
    text = fails(component("voc2012", train="Segmentation/train"), devkit, home)
    assert "SegmentationClass lacks 1 of 2 files, the first is 2008_000012.png" in text


def xml(*objects: str) -> str:
    return Photo("2008_000012", list(objects)).xml()


BOX = (1, 2, 3, 4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (xml()[:-9], "cannot be read"),
        ("", "cannot be read"),
        ("<html></html>", "is not a VOC annotation: it has no size"),
        (xml().replace("60", "wide"), "is not a VOC annotation: it has no size"),
        (
            xml(thing("aeroplan", BOX)),
            "a 'aeroplan', none of the 20 classes (did you mean 'aeroplane'?)",
        ),
        (
            xml(thing("cat", BOX), thing("", BOX)),
            "object 2 is a '', none of the 20 classes; unpack",
        ),
        (xml(thing("cat", (1, 2, "x", 4))), "object 1 has no box of four numbers"),
        (xml(thing("cat", (1, 2, "nan", 4))), "object 1 has no box of four numbers"),
        (xml(thing("cat", BOX)).replace("bndbox", "box"), "object 1 has no box of four numbers"),
        (
            xml(f"<object><name>person</name>{PART}</object>"),
            "object 1 has no box of four numbers",
        ),
        (xml(thing("cat", BOX, "maybe")), "object 1: difficult must be 0 or 1, got 'maybe'"),
    ],
)
def test_annotations_that_are_none(devkit: Path, home: Path, content: str, message: str) -> None:
    file = devkit / "VOC2012/Annotations/2008_000012.xml"
    file.write_text(content)
    with pytest.raises(BadData) as caught:
        component("voc2012").stage(devkit, runtime(home))
    assert message in str(caught.value)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("workers", [0, 2])
def test_images_that_do_not_decode(devkit: Path, home: Path, workers: int) -> None:
    for name in ("2011_003000", "2007_000032"):
        file = devkit / f"VOC2012/JPEGImages/{name}.jpg"
        file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(BadData, match=r"2007_000032\.jpg does not decode.*\(2 such images\)"):
        make(component("voc2012"), devkit, runtime(home, workers))


def test_a_size_that_is_not_the_annotation(tmp_path: Path, home: Path) -> None:
    root = write_2012(tmp_path / "VOCdevkit", Photo("2010_000001", says=(40, 60)))
    text = fails(component("voc2012"), root, home)
    assert "2010_000001.jpg is 60x40 but " in text
    assert "2010_000001.xml says 40x60; unpack" in text


def test_masks_that_are_none(devkit: Path, home: Path) -> None:
    file = devkit / "VOC2012/SegmentationClass/2008_000012.png"
    whole = file.read_bytes()
    write_mask(file, mask((40, 60)))
    assert f"mask {file} is 40x60 but its image is 60x40" in fails(
        component("voc2012"), devkit, home
    )
    write_mask(file, mask((60, 40), (21, 0, 0, 1, 1)))
    assert f"mask {file} holds 21, not 0 (background), 1..20 or 255" in fails(
        component("voc2012"), devkit, home
    )
    Image.fromarray(mask((60, 40))).convert("RGB").save(file)
    assert f"mask {file} holds colours (RGB), not class indices" in fails(
        component("voc2012"), devkit, home
    )
    file.write_bytes(whole[:-60])
    assert f"mask {file} does not decode" in fails(component("voc2012"), devkit, home)
    file.write_bytes(whole)
    assert len(split(component("voc2012"), devkit, home)) == 3, "a repaired folder works"


def test_the_key_follows_the_content_and_not_the_path(
    devkit: Path, tmp_path: Path, home: Path
) -> None:
    before = key(devkit, home)
    moved = tmp_path / "elsewhere" / "kit"
    shutil.copytree(devkit, moved)
    assert key(moved, home) == before
    assert key(moved, tmp_path / "other_home") == before
    folder = devkit / "VOC2012"
    os.utime(folder / "Annotations/2008_000012.xml", (1, 1))
    listed = folder / "ImageSets/Main/train.txt"
    listed.write_text("\n".join(reversed(listed.read_text().split())))
    write_year(devkit, "2012", [Photo("2012_000009")], {"other": ["2012_000009"]})
    assert key(devkit, home) == before, (
        "what no split names has no influence, nor has the order of a list"
    )


@pytest.mark.parametrize("what", ["annotation", "image", "mask", "no mask", "list", "split"])
def test_the_key_changes_with_the_content(devkit: Path, home: Path, what: str) -> None:
    before, folder = key(devkit, home), devkit / "VOC2012"
    drawn = folder / "SegmentationClass/2008_000012.png"
    if what == "annotation":
        file = folder / "Annotations/2008_000012.xml"
        file.write_text(file.read_text().replace("<difficult>1<", "<difficult>0<"))
    elif what == "image":
        with open(folder / "JPEGImages/2008_000012.jpg", "ab") as f:
            f.write(b"x")
    elif what == "mask":
        write_mask(drawn, mask((60, 40), (14, 4, 4, 30, 20), (255, 4, 4, 30, 5)))
    elif what == "no mask":
        drawn.unlink()
    elif what == "list":
        write_year(devkit, "2012", [], {"train": ["2008_000012"]})
    else:
        (folder / "ImageSets/Main/val.txt").unlink()
    assert key(devkit, home) != before


def test_annotations_are_parsed_once(
    devkit: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[str] = []
    real = _voc.read_annotation
    monkeypatch.setattr(
        _voc, "read_annotation", lambda file: parsed.append(file.stem) or real(file)
    )
    before = key(devkit, home)
    assert sorted(parsed) == sorted(p.name for p in voc_folders.photos_2012())
    assert key(devkit, home) == before
    assert len(parsed) == 5, "a second start with the same folder parses nothing"
    (devkit / "VOC2012/JPEGImages/2009_000002.jpg").unlink()
    for _ in range(2):
        with pytest.raises(BadData, match="JPEGImages lacks 1 of 5 files"):
            key(devkit, home)


def real(
    real_data: Path, home: Path, **settings: str
) -> tuple[dict[str, Any], dict[str, ImageSet]]:
    """The report of real VOC, and its splits."""
    data, given = component("voc2012", **settings), runtime(home, 2)
    stage, folder = make(data, real_data / "VOCdevkit", given)
    report = json.loads((folder / "report.json").read_text())
    assert all(counts["dropped"] == 0 for counts in report.values())
    return report, {name: data.load(folder, given.roots[stage.key], name) for name in report}


@pytest.mark.real_data
def test_real_objects_equal_torchvision_and_the_class_lists(real_data: Path, home: Path) -> None:
    from torchvision.datasets import VOCDetection

    report, splits = real(real_data, home)
    assert [(name, c["images"], c["objects"]) for name, c in report.items()] == [
        ("train", 250, 546),
        ("val", 250, 611),
    ]
    for name, images in splits.items():
        position = {int(number): i for i, number in enumerate(images.ids)}
        reference = VOCDetection(str(real_data), "2012", name)
        assert len(reference.annotations) == len(images)
        for file in reference.annotations:
            target = reference.parse_voc_xml(ElementTree.parse(file).getroot())["annotation"]
            i = position[int(Path(file).stem.replace("_", ""))]
            assert images.sizes[i].tolist() == [
                int(target["size"][s]) for s in ("width", "height")
            ]
            given = [{k: float(v) for k, v in o["bndbox"].items()} for o in target["object"]]
            boxes = [[b["xmin"] - 1, b["ymin"] - 1, b["xmax"], b["ymax"]] for b in given]
            assert images.objects(i).boxes.tolist() == boxes
            assert [images.classes[k] for k in images.objects(i).labels] == [
                o["name"] for o in target["object"]
            ]
        _labels_equal_the_lists(images, real_data / "VOCdevkit/VOC2012/ImageSets/Main", name)


def _labels_equal_the_lists(images: ImageSet, folder: Path, name: str) -> None:
    """The source of these images lost `difficult`, so only presence is compared."""
    table = image_labels(images)
    assert set(np.unique(table).tolist()) == {-1, 1}
    position = {int(number): i for i, number in enumerate(images.ids)}
    for k, label in enumerate(CLASSES):
        lines = [
            line.split() for line in (folder / f"{label}_{name}.txt").read_text().splitlines()
        ]
        assert len(lines) == len(images)
        for image, value in lines:
            assert (int(value) >= 0) == (table[position[int(image.replace("_", ""))], k] == 1), (
                image,
                label,
            )


def colours_of_voc() -> np.ndarray:
    """(256, 3) uint8: the colour of index i has bits 0, 3, 6 of i, highest first, in red; 1, 4, 7
    in green; 2, 5 in blue (VOC development kit, VOClabelcolormap)."""
    table = np.zeros((256, 3), np.uint8)
    for i in range(256):
        for bit in range(8):
            table[i, bit % 3] |= (i >> bit & 1) << (7 - bit // 3)
    return table


@pytest.mark.real_data
def test_real_masks_have_the_colours_of_voc(real_data: Path, home: Path) -> None:
    """OpenCV only sees a mask's colours; VOC's own table makes them of our indices."""
    report, splits = real(real_data, home, train="Segmentation/train", val="Segmentation/val")
    assert [c["masks"] for c in report.values()] == [293, 300]
    table, seen, odd = colours_of_voc(), np.zeros(256, np.int64), []
    for images in splits.values():
        assert images.has_semantic().all()
        for i in range(len(images)):
            file = images.file(i)
            found = images.semantic(i)
            assert found is not None
            png = file.parents[1] / "SegmentationClass" / f"{file.stem}.png"
            if i % 5 == 0:
                assert np.array_equal(cv2.imread(str(png))[..., ::-1], table[found])
            counts = np.bincount(found.ravel(), minlength=256)
            seen += counts
            if (
                set(np.flatnonzero(counts).tolist())
                - {0, 255}
                - {int(k) + 1 for k in images.objects(i).labels}
            ):
                odd.append(file.stem)
    assert np.flatnonzero(seen).tolist() == [*range(21), 255]
    assert odd == ["2008_005245"], (
        "in every other image, a class in the mask is a class of its boxes"
    )


@pytest.mark.real_data
def test_real_difficult_flags_and_a_box_by_hand(real_data: Path, home: Path) -> None:
    report, splits = real(real_data, home, train="extra2007", val="test")
    images = splits["train"]
    assert (report["train"]["images"], report["train"]["objects"]) == (100, 273)
    files = [images.file(i) for i in range(100)]
    texts = [(f.parents[1] / "Annotations" / f"{f.stem}.xml").read_text() for f in files]
    flagged = sum(text.count("<difficult>1</difficult>") for text in texts)
    assert report["train"]["difficult"] == flagged > 0
    assert sum(int(images.objects(i).difficult.sum()) for i in range(100)) == flagged
    # 2007_000027: 486 x 500, a person at 174, 101, 349, 351
    i = images.ids.tolist().index(2007000027)
    assert images.sizes[i].tolist() == [486, 500]
    assert images.objects(i).boxes.tolist() == [[173, 100, 349, 351]]
    assert images.objects(i).area.tolist() == [176 * 251]
    assert [images.classes[k] for k in images.objects(i).labels] == ["person"]


def test_doctor_looks_for_vocdevkit(devkit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.cli.doctor import _data

    assert (
        _data("voc2012")
        == "not found; give --data voc2012=PATH, or put it in $BENCH_DATA/VOCdevkit"
    )
    monkeypatch.setenv("BENCH_DATA", str(devkit.parent))
    assert _data("voc2012") == str(devkit)
    assert _data("coco") == "not found; give --data coco=PATH, or put it in $BENCH_DATA/coco"
