"""COCO in its official layout: what the index holds,
what bad folders say, what the key depends on."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO

from bench.contracts.images import ImageSet
from bench.core.errors import BadData
from bench.data.layouts import coco_file
from tests.data.folders import annotation, component, content, make, runtime, split, write


def described(images: ImageSet) -> list[Any]:
    """Everything an ImageSet says, as plain values."""
    rows = []
    for i in range(len(images)):
        o = images.objects(i)
        rows.append(
            [
                int(images.ids[i]),
                images.file(i).name,
                images.sizes[i].tolist(),
                o.boxes.tolist(),
                o.labels.tolist(),
                o.crowd.tolist(),
                o.area.tolist(),
                o.ids.tolist(),
                o.segmentations,
                None if o.keypoints is None else o.keypoints.tolist(),
            ]
        )
    return rows


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "coco")


@pytest.mark.parametrize("workers", [0, 2])
def test_the_index_is_the_json(folder: Path, home: Path, workers: int) -> None:
    images = split(component("coco"), folder, home, workers=workers)
    given = content(100)
    assert images.classes == ["person", "dog", "toothbrush"]
    assert images.ids.tolist() == [100, 101, 102]
    assert images.sizes.tolist() == [[60, 40], [64, 42], [68, 44]]
    label = {1: 0, 18: 1, 90: 2}
    for i, number in enumerate(images.ids.tolist()):
        own = sorted(
            (a for a in given["annotations"] if a["image_id"] == number), key=lambda a: a["id"]
        )
        objects = images.objects(i)
        assert objects.ids.tolist() == [a["id"] for a in own]
        expected = [[x, y, x + w, y + h] for x, y, w, h in (a["bbox"] for a in own)]
        assert np.array_equal(objects.boxes, np.array(expected, np.float32).reshape(-1, 4))
        assert objects.boxes.dtype == np.float32
        assert objects.labels.tolist() == [label[a["category_id"]] for a in own]
        assert objects.crowd.tolist() == [bool(a["iscrowd"]) for a in own]
        assert objects.area.tolist() == [a["area"] for a in own]
        assert objects.segmentations == [a["segmentation"] for a in own]
        assert objects.keypoints is None
        assert images.image(i).shape == (*images.sizes[i][::-1], 3)
        assert images.file(i) == folder / "train2017" / f"{number:012d}.jpg"


def test_a_pickled_split_is_small_and_the_same(folder: Path, home: Path) -> None:
    images = split(component("coco"), folder, home)
    before = described(images)
    data = pickle.dumps(images)
    assert len(data) < 1000
    assert described(pickle.loads(data)) == before


def test_keypoints_go_to_their_person(folder: Path, home: Path) -> None:
    points = [float(v) for v in range(51)]
    file = folder / "annotations" / "person_keypoints_train2017.json"
    points[2::3] = [float(v % 3) for v in range(17)]
    given = content(100)
    person = next(a for a in given["annotations"] if a["id"] == 70)
    file.write_text(json.dumps({**given, "annotations": [{**person, "keypoints": points}]}))
    images = split(component("coco"), folder, home)
    objects = images.objects(0)
    assert objects.keypoints is not None
    assert objects.keypoints.shape == (3, 17, 3)
    assert objects.keypoints[objects.ids.tolist().index(70)].ravel().tolist() == points
    assert not objects.keypoints[objects.ids != 70].any()


def test_the_report_counts_repairs(tmp_path: Path, home: Path) -> None:
    def change(made: dict[str, Any]) -> None:
        made["annotations"] += [
            annotation(1, 100, 1, [-10.0, 30.0, 20.0, 40.0]),  # clipped on two sides
            # 0.3 pixel: rounding, not counted as a repair
            annotation(2, 100, 1, [50.0, 5.0, 10.3, 5.0]),
            annotation(3, 100, 18, [5.0, 5.0, 9.0, 0.0]),  # no height
            annotation(4, 100, 18, [70.0, 5.0, 9.0, 9.0]),  # beyond the image
        ]

    root = write(tmp_path / "coco", change)
    data, given = component("coco"), runtime(home)
    stage, made = make(data, root, given)
    report = json.loads((made / "report.json").read_text())
    rest = {"unmasked": 0, "remarks": []}
    assert report["train"].pop("remarks")[0].startswith("2 of 8 boxes reach beyond their image")
    report["train"]["remarks"] = []
    assert report["train"] == {"images": 3, "objects": 6, "clipped": 1, "dropped": 2} | rest
    assert report["val"] == {"images": 3, "objects": 4, "clipped": 0, "dropped": 0} | rest
    objects = data.load(made, given.roots[stage.key], "train").objects(0)
    boxes = dict(zip(objects.ids.tolist(), objects.boxes.tolist(), strict=True))
    assert boxes[1] == [0, 30, 10, 40]
    assert boxes[2] == [50, 5, 60, 10]
    assert set(boxes) == {1, 2, 11, 70, 900}


def test_the_order_of_the_file_does_not_matter(tmp_path: Path, home: Path) -> None:
    def shuffled(made: dict[str, Any]) -> None:
        made["images"].reverse()
        made["annotations"].reverse()
        made["categories"] = made["categories"][::-1]

    data = component("coco")
    plain = split(data, write(tmp_path / "a"), home)
    other = split(data, write(tmp_path / "b", shuffled), home)
    assert described(plain) == described(other)
    assert plain.classes == other.classes


def test_train_alone_is_enough_and_val_is_then_an_error(tmp_path: Path, home: Path) -> None:
    root = write(tmp_path / "coco", splits=("train",))
    assert len(split(component("coco"), root, home)) == 3
    with pytest.raises(BadData, match=r"has no val of coco; get .*val2017\.zip"):
        split(component("coco"), root, home, "val")
    with pytest.raises(BadData, match="splits train and val, not 'test'"):
        split(component("coco"), root, home, "test")


def key(root: Path, home: Path) -> str:
    return component("coco").stage(root, runtime(home)).key


def test_the_key_follows_the_content_and_not_the_path(
    folder: Path, tmp_path: Path, home: Path
) -> None:
    before = key(folder, home)
    moved = tmp_path / "elsewhere" / "deep"
    shutil.copytree(folder, moved)
    assert key(moved, home) == before
    assert key(moved, tmp_path / "other_home") == before
    os.utime(folder / "annotations" / "instances_train2017.json", (1, 1))
    assert key(folder, home) == before


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the COCO files that were read, in order."""
    names: list[str] = []
    read = coco_file.read_bytes
    monkeypatch.setattr(
        coco_file,
        "read_bytes",
        lambda file, *more: names.append(file.name) or read(file, *more),
    )
    return names


def test_annotations_are_parsed_once(folder: Path, home: Path, parsed: list[str]) -> None:
    before = key(folder, home)
    assert sorted(parsed) == ["instances_train2017.json", "instances_val2017.json"]
    assert key(folder, home) == before
    assert len(parsed) == 2, "a second start with the same folder parses nothing"
    (folder / "train2017" / "000000000101.jpg").unlink()
    with pytest.raises(BadData, match="lacks 1 of 3 images"):
        key(folder, home)
    with pytest.raises(BadData, match="lacks 1 of 3 images"):
        key(folder, home)


def test_the_index_takes_what_the_plan_has_parsed(
    folder: Path, home: Path, parsed: list[str]
) -> None:
    """Each file once for a plan and its index."""
    images = split(component("coco"), folder, home)
    assert sorted(parsed) == ["instances_train2017.json", "instances_val2017.json"]
    assert len(images) == 3


@pytest.mark.parametrize("what", ["annotation", "image", "more", "keypoints", "val"])
def test_the_key_changes_with_the_content(folder: Path, home: Path, what: str) -> None:
    before = key(folder, home)
    if what == "image":
        with open(folder / "train2017" / "000000000100.jpg", "ab") as f:
            f.write(b"x")
    elif what == "more":
        (folder / "train2017" / "z.jpg").write_bytes(b"x")
    elif what == "keypoints":
        (folder / "annotations" / "person_keypoints_train2017.json").write_text(
            json.dumps({**content(100), "annotations": []})
        )
    else:
        name = "train" if what == "annotation" else "val"
        file = folder / "annotations" / f"instances_{name}2017.json"
        file.write_text(file.read_text().replace('"iscrowd": 1', '"iscrowd": 0'))
    assert key(folder, home) != before


def fails(root: Path | None, home: Path) -> str:
    """The one line that making the stage of a bad folder ends with."""
    with pytest.raises(BadData) as caught:
        make(component("coco"), root, runtime(home))
    text = str(caught.value)
    assert "\n" not in text
    assert caught.value.exit_code == 2
    return text


def test_no_folder(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = fails(tmp_path / "none", home)
    assert f"no COCO folder at {tmp_path / 'none'}" in text
    assert "train2017.zip (18 GB)" in text
    assert "--data coco=PATH" in text
    assert "no path is known for data 'coco'" in fails(None, home)
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    assert f"no COCO folder at {tmp_path / 'coco'}" in fails(None, home)


def test_bench_data_is_where_coco_is_looked_for(
    folder: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_DATA", str(folder.parent))
    assert component("coco").stage(None, runtime(home)).key == key(folder, home)


def test_no_images_folder(folder: Path, home: Path) -> None:
    shutil.rmtree(folder / "train2017")
    assert "has no folder train2017/" in fails(folder, home)


@pytest.mark.parametrize("name", ["train", "val"])
def test_no_annotations(folder: Path, home: Path, name: str) -> None:
    (folder / "annotations" / f"instances_{name}2017.json").unlink()
    assert f"COCO {name} annotations are missing: " in fails(folder, home)


def test_half_written_annotations(folder: Path, home: Path) -> None:
    file = folder / "annotations" / "instances_train2017.json"
    file.write_text(file.read_text()[:-100])
    text = fails(folder, home)
    assert "COCO train annotations cannot be read, half-written?" in text
    assert str(file) in text


@pytest.mark.parametrize("text", ["[]", "{}", '{"images": [], "annotations": []}', "3"])
def test_another_json(folder: Path, home: Path, text: str) -> None:
    (folder / "annotations" / "instances_train2017.json").write_text(text)
    assert "is not a COCO instances file" in fails(folder, home)


@pytest.mark.parametrize(
    ("part", "field"), [("images", "width"), ("annotations", "bbox"), ("categories", "name")]
)
def test_an_entry_without_a_field(tmp_path: Path, home: Path, part: str, field: str) -> None:
    root = write(tmp_path / "coco")
    file = root / "annotations" / "instances_train2017.json"
    given = json.loads(file.read_text())
    number = given[part][1]["id"]
    del given[part][1][field]
    file.write_text(json.dumps(given))
    assert f"{part}[1] (id {number}): lacks {field}" in fails(root, home)


def test_an_empty_split(tmp_path: Path, home: Path) -> None:
    root = write(tmp_path / "coco", lambda made: made.update(images=[], annotations=[]))
    assert "COCO split train is empty: no images in" in fails(root, home)


def test_a_missing_image(folder: Path, home: Path) -> None:
    (folder / "val2017" / "000000000201.jpg").unlink()
    text = fails(folder, home)
    assert "val2017/ lacks 1 of 3 images, the first is 000000000201.jpg" in text


@pytest.mark.parametrize("workers", [0, 2])
def test_images_that_do_not_decode(folder: Path, home: Path, workers: int) -> None:
    for number in (101, 102):
        file = folder / "train2017" / f"{number:012d}.jpg"
        file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(BadData) as caught:
        make(component("coco"), folder, runtime(home, workers))
    assert "does not decode" in str(caught.value)
    assert "(2 such images)" in str(caught.value)
    assert "000000000102.jpg" in str(caught.value), "the first in the order of the file"


def test_a_size_that_is_not_the_annotations(tmp_path: Path, home: Path) -> None:
    root = write(tmp_path / "coco", lambda made: made["images"][1].update(width=61))
    assert "000000000100.jpg is 60x40 but its annotations say 61x40" in fails(root, home)


@pytest.mark.parametrize("field", ["image_id", "category_id"])
def test_an_unknown_id(tmp_path: Path, home: Path, field: str) -> None:
    root = write(tmp_path / "coco", lambda made: made["annotations"][2].update({field: 77}))
    text = fails(root, home)
    assert "annotation 11 names image" in text
    assert "77" in text


@pytest.mark.parametrize("name", ["images", "annotations", "categories"])
def test_an_id_twice(tmp_path: Path, home: Path, name: str) -> None:
    root = write(tmp_path / "coco", lambda made: made.update({name: [*made[name], made[name][0]]}))
    assert f"{name} list an id twice" in fails(root, home)


@pytest.mark.parametrize(
    "box", [None, [1, 2, 3], "1234", [1, 2, 3, "four"], [5.0, float("nan"), 9, 9]]
)
def test_a_box_that_is_no_box(tmp_path: Path, home: Path, box: object) -> None:
    def change(made: dict[str, list[dict[str, object]]]) -> None:
        first, *rest = made["annotations"]
        made["annotations"] = [{**first, "bbox": box}, *rest]

    root = write(tmp_path / "coco", change)
    text = fails(root, home)
    assert "annotations[0] (id 70): " in text
    assert "lacks bbox" in text or "bbox is" in text


@pytest.mark.parametrize("name", ["images", "annotations", "categories"])
def test_entries_that_are_no_list_of_dicts(tmp_path: Path, home: Path, name: str) -> None:
    root = write(tmp_path / "coco", lambda made: made.update({name: ["x"]}))
    assert f"{name}[0]: 'x' is not an entry with fields" in fails(root, home)
    root = write(tmp_path / "other", lambda made: made.update({name: 3}))
    assert f"{name} is not a list of entries" in fails(root, home)


def test_a_bad_folder_leaves_no_result_and_a_repaired_one_works(folder: Path, home: Path) -> None:
    file = folder / "train2017" / "000000000101.jpg"
    whole = file.read_bytes()
    file.write_bytes(whole[:-200])
    fails(folder, home)
    file.write_bytes(whole)
    assert len(split(component("coco"), folder, home)) == 3


@pytest.mark.real_data
def test_real_coco_equals_pycocotools(real_data: Path, home: Path) -> None:
    root, data, given = real_data / "tiny_coco", component("coco"), runtime(home, 2)
    stage, folder = make(data, root, given)
    report = json.loads((folder / "report.json").read_text())
    for name, objects in (("train", 470), ("val", 382)):
        assert report[name].pop("remarks") == []
        assert report[name] == dict.fromkeys(report[name], 0) | {"images": 50, "objects": objects}
        images = data.load(folder, given.roots[stage.key], name)
        reference = COCO(root / "annotations" / f"instances_{name}2017.json")
        assert images.ids.tolist() == sorted(reference.getImgIds())
        categories = reference.loadCats(sorted(reference.getCatIds()))
        assert images.classes == [c["name"] for c in categories]
        assert len(images.classes) == 80
        for i, number in enumerate(images.ids.tolist()):
            _same_objects(images, i, reference, number, [c["id"] for c in categories])


def _same_objects(images: ImageSet, i: int, reference: COCO, number: int, ids: list[int]) -> None:
    own = sorted(reference.loadAnns(reference.getAnnIds(number)), key=lambda a: a["id"])
    found = images.objects(i)
    assert found.ids.tolist() == [a["id"] for a in own]
    boxes = np.array([a["bbox"] for a in own]).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    np.testing.assert_allclose(found.boxes, boxes, atol=0.02)  # official boxes are rounded to 0.01
    np.testing.assert_allclose(found.area, [a["area"] for a in own])
    assert found.labels.tolist() == [ids.index(a["category_id"]) for a in own]
    assert found.crowd.tolist() == [bool(a["iscrowd"]) for a in own]
    assert found.segmentations is not None or not own
    for segmentation, a in zip(found.segmentations or [], own, strict=True):
        assert segmentation == a["segmentation"]
