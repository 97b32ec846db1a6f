"""Cityscapes and CamVid in their layouts, VOC's segmentation lists, the masks of scenes."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.contracts.images import ImageSet
from bench.core.errors import BadData, BadInput
from bench.data.scenes.draw import draw_scene
from bench.data.scenes.pixels import scene_pixels, write_camvid, write_cityscapes
from bench.data.semantic import pixel_classes, pixel_targets, read_classes
from tests.data.folders import component, make, runtime, split
from tests.data.voc_folders import write_2012

SIZE = (96, 72)
# labels.py of the authors' scripts: id -> train id, 255 where it is not scored
TRAIN_IDS = {
    0: 255,
    1: 255,
    2: 255,
    3: 255,
    4: 255,
    5: 255,
    6: 255,
    7: 0,
    8: 1,
    9: 255,
    10: 255,
    11: 2,
    12: 3,
    13: 4,
    14: 255,
    15: 255,
    16: 255,
    17: 5,
    18: 255,
    19: 6,
    20: 7,
    21: 8,
    22: 9,
    23: 10,
    24: 11,
    25: 12,
    26: 13,
    27: 14,
    28: 15,
    29: 255,
    30: 255,
    31: 16,
    32: 17,
    33: 18,
    255: 255,
}


@pytest.fixture
def streets(tmp_path: Path) -> Path:
    return write_cityscapes(tmp_path / "cityscapes", 3, 2, size=SIZE)


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    return write_camvid(tmp_path / "CamVid", 3, 2, size=SIZE)


def write(file: Path, values: np.ndarray) -> None:
    Image.fromarray(values).save(file)


def mask_of(images: ImageSet, index: int) -> Path:
    image = images.file(index)
    if image.name.endswith("_leftImg8bit.png"):
        folder = Path(str(image.parent).replace("leftImg8bit", "gtFine"))
        return folder / image.name.replace("_leftImg8bit", "_gtFine_labelIds")
    return image.parents[1] / f"{image.parent.name}annot" / image.name


def test_cityscapes_ids_become_train_ids(streets: Path, home: Path) -> None:
    images = split(component("cityscapes"), streets, home)
    every = np.resize(np.array(list(TRAIN_IDS), np.uint8), tuple(images.sizes[1][::-1]))
    write(mask_of(images, 1), every)
    images = split(component("cityscapes"), streets, home)
    expected = np.vectorize(TRAIN_IDS.__getitem__)(every)
    assert np.array_equal(pixel_targets(images, 1), expected)
    assert np.array_equal(images.semantic(1), np.where(expected == 255, 255, expected + 1))
    assert images.background is False
    assert pixel_classes(images) == images.classes
    assert len(images.classes) == 19
    assert images.classes[:3] + images.classes[-2:] == [
        "road",
        "sidewalk",
        "building",
        "motorcycle",
        "bicycle",
    ]


@pytest.mark.parametrize("name", ["cityscapes", "camvid"])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_layout_written_from_scenes_gives_the_scenes_back(
    name: str, workers: int, tmp_path: Path, home: Path
) -> None:
    root = {"cityscapes": write_cityscapes, "camvid": write_camvid}[name](
        tmp_path / "x", 3, 2, size=SIZE
    )
    for part, count, first in (("train", 3, 1), ("val", 2, 500_001)):
        images = split(component(name), root, home, part, workers)
        assert len(images) == count
        again = pickle.loads(pickle.dumps(images))
        for i in range(count):
            picture, pixels = scene_pixels(0, first + i, SIZE, len(images.classes))
            assert np.array_equal(images.image(i), picture)
            for one in (images, again):
                assert np.array_equal(pixel_targets(one, i), pixels)
        assert images.has_semantic().all()
    with pytest.raises(BadData, match=f"data '{name}' has masks but no boxes"):
        images.objects(0)
    with pytest.raises(BadData, match="splits train and val, not 'test'"):
        split(component(name), root, home, "test")


def test_ids_are_of_the_file_names(streets: Path, drive: Path, home: Path) -> None:
    assert split(component("cityscapes"), streets, home).ids.tolist() == [
        1_000_000_000_019,
        1_000_001_000_019,
        1_000_002_000_019,
    ]
    assert split(component("cityscapes"), streets, home, "val").ids[0] == 19_000_000_000_019
    assert split(component("camvid"), drive, home).ids.tolist() == [
        1_000_001,
        1_000_002,
        1_000_003,
    ]


def test_camvid_values(drive: Path, home: Path) -> None:
    images = split(component("camvid"), drive, home)
    raw = np.resize(np.arange(12, dtype=np.uint8), tuple(images.sizes[0][::-1]))
    write(mask_of(images, 0), raw)
    images = split(component("camvid"), drive, home)
    assert np.array_equal(pixel_targets(images, 0), np.where(raw == 11, 255, raw))
    assert pixel_classes(images)[:2] == ["sky", "building"]


def test_scenes_have_their_objects_as_pixels(home: Path) -> None:
    data = component("scenes", n_train=3, n_val=2, width=96, height=72)
    given = runtime(home)
    stage, folder = make(data, None, given)
    images = data.load(folder, given.roots[stage.key], "val")
    assert pixel_classes(images)[0] == "background"
    assert len(pixel_classes(images)) == 21
    for i in range(2):
        scene = draw_scene(0, int(images.ids[i]), (96, 72))
        expected = np.zeros(scene.image.shape[:2], np.uint8)
        for label, mask in zip(scene.labels, scene.masks, strict=True):
            expected[mask] = label + 1
        assert np.array_equal(pixel_targets(images, i), expected)
        assert expected.max() > 0


def test_voc_segmentation_lists(tmp_path: Path, home: Path) -> None:
    root = write_2012(tmp_path / "VOCdevkit")
    images = split(component("voc2012_seg"), root, home)
    assert images.ids.tolist() == [2008000012, 2011003000]
    assert images.has_semantic().all()
    assert len(pixel_classes(images)) == 21
    assert np.array_equal(pixel_targets(images, 0), images.semantic(0))
    assert split(component("voc2012_seg"), root, home, "val").ids.tolist() == [2009000002]
    (root / "VOC2012/SegmentationClass/2008_000012.png").unlink()
    with pytest.raises(
        BadData, match=r"SegmentationClass lacks 1 of 3 files, the first is 2008_000012\.png"
    ):
        split(component("voc2012_seg"), root, home)
    other = split(component("voc2012"), root, home)
    with pytest.raises(BadData, match=r"2007_000032\.jpg has no semantic mask"):
        pixel_targets(other, 0)


def test_the_folder_or_the_one_above(
    streets: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {component("cityscapes").stage(p, runtime(home)).key for p in (streets, streets.parent)}
    monkeypatch.setenv("BENCH_DATA", str(streets.parent))
    keys.add(component("cityscapes").stage(None, runtime(home)).key)
    assert len(keys) == 1
    monkeypatch.delenv("BENCH_DATA")
    with pytest.raises(
        BadData, match="no path is known for data 'cityscapes': get leftImg8bit_trainvaltest"
    ):
        component("cityscapes").stage(None, runtime(home))
    with pytest.raises(BadData, match=r"no leftImg8bit in .*then: --data cityscapes=PATH"):
        component("cityscapes").stage(home, runtime(home))


def test_the_key_follows_the_content(streets: Path, tmp_path: Path, home: Path) -> None:
    def key(root: Path, **params: Any) -> str:
        return component("cityscapes", **params).stage(root, runtime(home)).key

    before = key(streets)
    shutil.copytree(streets, tmp_path / "moved")
    assert key(tmp_path / "moved") == before
    (streets / "gtFine/train/aachen/aachen_000000_000019_gtFine_color.png").write_bytes(
        b"not read"
    )
    assert key(streets) == before
    mask = next((streets / "gtFine/train/aachen").glob("*labelIds.png"))
    changed = read_classes(mask)
    changed[5, 5] = 0 if changed[5, 5] else 1
    write(mask, changed)
    assert key(streets) != before
    assert key(streets, train="train+val") != key(streets, train="val")


def test_both_parts_in_one_split(drive: Path, home: Path) -> None:
    images = split(component("camvid", train="train+val", val="train"), drive, home)
    assert len(images) == 5
    with pytest.raises(
        BadInput, match=r"camvid\.train=train\+train: .*0001TP_000001\.png is listed twice"
    ):
        split(component("camvid", train="train+train"), drive, home)


def test_parts_that_are_not_there(drive: Path, streets: Path, home: Path) -> None:
    assert list(
        json.loads(
            (
                make(component("camvid", val="test"), drive, runtime(home))[1] / "report.json"
            ).read_text()
        )
    ) == ["train"]
    with pytest.raises(
        BadData, match="has no list 'test', the val of camvid; get the folder CamVid"
    ):
        split(component("camvid", val="test"), drive, home, "val")
    with pytest.raises(BadData, match="has no folder 'trian', the train of cityscapes"):
        split(component("cityscapes", train="trian"), streets, home)


def fails(name: str, root: Path, home: Path, workers: int = 0) -> str:
    with pytest.raises(BadData) as caught:
        make(component(name), root, runtime(home, workers))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_files_that_are_missing(streets: Path, drive: Path, home: Path) -> None:
    mask = next((streets / "gtFine/val/frankfurt").glob("frankfurt_000001*"))
    mask.unlink()
    assert f"gtFine/val/frankfurt lacks 1 of 2 files, the first is {mask.name}" in fails(
        "cityscapes", streets, home
    )
    (drive / "train/0001TP_000002.png").unlink()
    assert "train lacks 1 of 3 files, the first is 0001TP_000002.png" in fails(
        "camvid", drive, home
    )


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("name", ["cityscapes", "camvid"])
def test_masks_that_are_none(
    name: str, workers: int, streets: Path, drive: Path, home: Path
) -> None:
    root = {"cityscapes": streets, "camvid": drive}[name]
    mask = mask_of(split(component(name), root, home), 1)
    good = read_classes(mask)
    height, width = good.shape
    unknown = {"cityscapes": 34, "camvid": 12}[name]
    for bad, message in (
        (
            np.where(good == good[9, 9], unknown, good).astype(np.uint8),
            f"holds {unknown}, none of 0, 1, 2",
        ),
        (good[:-1], f"is {width}x{height - 1} but its image is {width}x{height}"),
        (good.astype(np.uint16), "has 16 bits a pixel"),
        (np.repeat(good[..., None], 3, 2), "holds colours (RGB), not class indices"),
    ):
        write(mask, bad)
        text = fails(name, root, home, workers)
        assert f"mask {mask} {message}" in text, text
    write(mask, good)
    mask.write_bytes(mask.read_bytes()[:-30])
    assert f"mask {mask} does not decode" in fails(name, root, home, workers)


def test_a_16_bit_image_is_read_as_8(drive: Path, home: Path) -> None:
    images = split(component("camvid"), drive, home)
    grey = images.image(0)[..., 0]
    Image.fromarray(grey.astype(np.uint16) * 257).save(images.file(0))
    images = split(component("camvid"), drive, home)
    assert np.array_equal(images.image(0), np.repeat(grey[..., None], 3, 2))


def test_names_that_are_none(streets: Path, drive: Path, home: Path) -> None:
    folder = streets / "leftImg8bit/train/aachen"
    (folder / "aachen_000000_000019_leftImg8bit.png").rename(folder / "achen_0_19_leftImg8bit.png")
    assert "achen_0_19_leftImg8bit.png is not an image of Cityscapes" in fails(
        "cityscapes", streets, home
    )
    folder.rename(folder.parent / "achen")
    assert "(did you mean 'aachen'?)" in fails("cityscapes", streets, home)
    (drive / "train.txt").write_text("train/0001TP_000001.png\n")
    assert "train.txt holds 'train/0001TP_000001.png', not an image like" in fails(
        "camvid", drive, home
    )
    (drive / "train.txt").write_text("")
    assert "camvid split train is empty" in fails("camvid", drive, home)


@pytest.mark.real_data
def test_real_camvid(real_data: Path, home: Path) -> None:
    given = runtime(home, 2)
    data = component("camvid")
    stage, folder = make(data, real_data / "CamVid", given)
    assert json.loads((folder / "report.json").read_text()) == {
        "train": {"images": 74, "masks": 74, "remarks": []},
        "val": {"images": 34, "masks": 34, "remarks": []},
    }
    seen = np.zeros(256, np.int64)
    for part in ("train", "val"):
        images = data.load(folder, given.roots[stage.key], part)
        assert images.sizes.tolist() == [[480, 360]] * len(images)
        for i in range(len(images)):
            seen += np.bincount(pixel_targets(images, i).ravel(), minlength=256)
    assert np.flatnonzero(seen).tolist() == [*range(11), 255]
    # counted over the files themselves, which hold 11 where we say 255
    assert seen[[0, 3, 10, 255]].tolist() == [2685114, 5749417, 164797, 593524]
