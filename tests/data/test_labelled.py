"""Classification sets in their official layouts, written from scenes and read back; what damaged
ones say."""

from __future__ import annotations

import csv
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from bench.core.errors import BadData
from bench.data.scenes.classes import CLASSES
from bench.data.scenes.layouts import LAYOUTS, draw_scenes, write_layout
from bench.data.semantic import image_labels, single_labels
from bench.data.sets.openimages import choose, image_id
from tests.data.folders import component, make, runtime, split
from tests.small_set import SmallSet

PLACES = "trainvalsplit_places205/train_places205.csv"
BOXES = "oidv6-train-annotations-bbox.csv"
EVERY = {"min_images": 1, "min_classes": 1}


def params(name: str) -> dict[str, int]:
    return EVERY if name == "openimages" else {}


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_what_is_written_is_read_back(name: str, tmp_path: Path, home: Path) -> None:
    classes = write_layout(name, tmp_path / "set", 6, 3)
    for part, count in (("train", 6), ("val", 3)):
        images = split(
            component(name, **params(name)),
            tmp_path / "set",
            home,
            part,
            workers=2 if part == "val" else 0,
        )
        assert len(images) == count
        assert len(set(images.ids.tolist())) == count
        again = pickle.loads(pickle.dumps(images))
        for i in range(count):
            assert again.image(i).shape == (*images.sizes[i][::-1], 3)
        if name != "openimages":
            assert single_labels(images).tolist() == classes[part]
            labels = image_labels(images)
            assert (labels == 1).sum(1).tolist() == [1] * count
            assert labels.argmax(1).tolist() == classes[part]


def test_openimages_boxes_are_those_of_the_scenes(tmp_path: Path, home: Path) -> None:
    write_layout("openimages", tmp_path, 4, 2)
    images = split(component("openimages", **EVERY), tmp_path, home)
    for i, d in enumerate(draw_scenes("train", 4)):
        objects = images.objects(i)
        assert images.ids[i] == d.number
        assert [images.classes[c] for c in objects.labels] == [CLASSES[c] for c in d.scene.labels]
        ys, xs = np.nonzero(d.scene.masks[0])
        expected = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        np.testing.assert_allclose(objects.boxes[0], expected, atol=1e-3)


def boxes_csv(file: Path, pairs: list[tuple[str, str]]) -> Path:
    with open(file, "w", newline="") as lines:
        out = csv.writer(lines)
        out.writerow(["ImageID", "LabelName", "XMin", "XMax", "YMin", "YMax", "IsGroupOf"])
        out.writerows([i, c, 0.1, 0.5, 0.1, 0.5, 0] for i, c in pairs)
    return file


def test_the_subset_rule_by_hand(tmp_path: Path) -> None:
    """d is in one image only, so that it goes; image 4 then shows one class only and goes; that
    leaves b with two images, as asked for; a second b box in an image is no second class."""
    shown = {"1": "ab", "2": "ab", "3": "ac", "4": "ad", "5": "bbb", "6": "ac"}
    file = boxes_csv(tmp_path / "boxes.csv", [(i, c) for i, cs in shown.items() for c in cs])
    names = {c: c.upper() for c in "abcd"}
    assert choose(file, names, 2, 2) == ({"1", "2", "3", "6"}, ["a", "b", "c"])
    assert choose(file, names, 0, 1) == (set(shown), ["a", "b", "c", "d"])
    assert choose(file, names, 3, 2) == (set(), []), (
        "a alone has three images, none of which shows another"
    )


def test_image_ids_fit_64_bits() -> None:
    assert image_id("0000000000000001") == 1
    assert image_id("ffffffffffffffff") == -1
    assert image_id("8000000000000000") == -(2**63)


@pytest.mark.parametrize(
    ("name", "harm", "says"),
    [
        ("imagenet", lambda r: _cut(next((r / "train").rglob("*.JPEG"))), "truncated JPEG"),
        ("imagenet", lambda r: (r / "val" / "n99999999").mkdir(), "n99999999"),
        ("places205", lambda r: next((r / "images256").rglob("*.jpg")).unlink(), "cannot be read"),
        ("places205", lambda r: (r / PLACES).write_text("x y z\n"), "IMAGE CLASS"),
        ("inat18", lambda r: (r / "train2018.json").write_text('{"images": ['), "half-written"),
        ("inat18", lambda r: _drop_annotation(r / "train2018.json"), "lacks its annotation"),
        ("openimages", lambda r: next((r / "train").glob("*.jpg")).unlink(), "lacks 1 of 6 files"),
        ("openimages", lambda r: (r / BOXES).write_text("ImageID\nx\n"), "no such column"),
        ("cifar10", lambda r: _cut(r / "cifar10_jpeg.npz"), "damaged"),
    ],
)
def test_damage_is_found_and_said_in_one_line(
    name, harm, says, tmp_path: Path, home: Path
) -> None:  # type: ignore[no-untyped-def]
    write_layout(name, tmp_path / "set", 6, 2)
    harm(tmp_path / "set")
    with pytest.raises(BadData, match=says) as found:
        make(component(name, **params(name)), tmp_path / "set", runtime(home))
    assert "\n" not in str(found.value)


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _drop_annotation(file: Path) -> None:
    table = json.loads(file.read_text())
    table["annotations"].pop()
    file.write_text(json.dumps(table))


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_a_missing_set_says_what_to_get(name: str, tmp_path: Path, home: Path) -> None:
    with pytest.raises(BadData, match=f"--data {name}=PATH"):
        component(name).stage(None, runtime(home))
    with pytest.raises(BadData, match="get "):
        component(name).stage(tmp_path / "nowhere", runtime(home))


@pytest.mark.parametrize("name", ["imagenet", "inat18", "cifar10"])
def test_the_key_is_content_not_place(name: str, tmp_path: Path, home: Path) -> None:
    for place in ("a", "b"):
        write_layout(name, tmp_path / place, 5, 2)
    write_layout(name, tmp_path / "c", 6, 2)
    keys = [component(name).stage(tmp_path / p, runtime(home)).key for p in "abc"]
    assert keys[0] == keys[1] != keys[2]


def test_single_labels_of_scenes_are_the_largest_object(tmp_path: Path) -> None:
    images = SmallSet(tmp_path, 4)
    expected = [
        int(c[m.sum((1, 2)).argmax()]) for c, m in zip(images.labels, images.masks, strict=True)
    ]
    assert single_labels(images).tolist() == expected


@pytest.mark.real_data
def test_cifar10_as_it_lies(real_data: Path, home: Path) -> None:
    images = split(component("cifar10"), real_data / "cifar10_jpeg.npz", home, "val")
    assert len(images) == 10_000
    assert images.classes[:2] == ["airplane", "automobile"]
    assert np.bincount(single_labels(images)).tolist() == [1000] * 10
    assert images.image(17).shape == (32, 32, 3)
