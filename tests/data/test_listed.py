"""The sets with published lists in their layouts: labels, ids, splits,
keys, and what damage says."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from bench.core.errors import BadData, BadInput, BenchError
from bench.data.semantic import image_labels, single_labels
from tests.data.folders import component, make, runtime, split
from tests.data.listed_folders import FOLDERS, LAYOUTS, Written, annotations, lines

NAMES = sorted(LAYOUTS)


def every(name: str, tmp_path: Path) -> Written:
    return LAYOUTS[name](tmp_path / "data" / FOLDERS[name])


@pytest.mark.parametrize("name", NAMES)
def test_ids_classes_and_pixels_are_those_of_the_files(
    name: str, tmp_path: Path, home: Path
) -> None:
    known = every(name, tmp_path)
    given = runtime(home)
    folder = make(component(name), known.root, given)[1]
    for part, labels in (("train", known.train), ("val", known.val)):
        images = pickle.loads(pickle.dumps(component(name).load(folder, known.root, part)))
        assert images.ids.tolist() == sorted(labels)
        assert images.classes == known.classes
        assert (
            dict(zip(images.ids.tolist(), single_labels(images).tolist(), strict=True)) == labels
        )
        assert (image_labels(images) == 1).sum(1).tolist() == [1] * len(labels)
        assert image_labels(images).argmax(1).tolist() == single_labels(images).tolist()
        for i, number in enumerate(images.ids.tolist()):
            pixels = images.image(i)
            assert pixels.shape == (*images.sizes[i][::-1], 3)
            assert abs(int(np.median(pixels[..., 2])) - known.blue[number]) <= 2
    report = json.loads((folder / "report.json").read_text())
    assert report["train"]["images"] == len(known.train)
    assert report["val"]["classes"] == len(set(known.val.values()))


@pytest.mark.parametrize("name", NAMES)
def test_the_folder_or_the_one_above_or_the_default(
    name: str, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = every(name, tmp_path).root
    keys = {component(name).stage(p, runtime(home)).key for p in (root, root.parent)}
    monkeypatch.setenv("BENCH_DATA", str(root.parent))
    keys.add(component(name).stage(None, runtime(home)).key)
    assert len(keys) == 1
    monkeypatch.delenv("BENCH_DATA")
    with pytest.raises(
        BadData, match=f"no path is known for data '{name}': get .*--data {name}=PATH"
    ):
        component(name).stage(None, runtime(home))
    with pytest.raises(BadData, match=rf"no \S+ in {home}; get .*then: --data {name}=PATH"):
        component(name).stage(home, runtime(home))


@pytest.mark.parametrize("name", NAMES)
def test_the_key_is_of_the_content_not_the_place(name: str, tmp_path: Path, home: Path) -> None:
    def key(root: Path) -> str:
        return component(name).stage(root, runtime(home)).key

    known = every(name, tmp_path)
    before = key(known.root)
    shutil.copytree(known.root, tmp_path / "moved")
    assert key(tmp_path / "moved") == before
    image = next(f for f in sorted(known.root.rglob("*.jpg")) if "unlisted" not in f.name)
    (image.parent / "further.jpg").write_bytes(b"not listed")
    assert key(known.root) == before
    image.write_bytes(image.read_bytes() + b" ")
    assert key(known.root) != before


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("name", NAMES)
def test_damaged_and_missing_images_are_found(
    name: str, workers: int, tmp_path: Path, home: Path
) -> None:
    root = every(name, tmp_path).root
    image = next(f for f in sorted(root.rglob("*.jpg")) if "unlisted" not in f.name)
    whole = image.read_bytes()
    image.write_bytes(whole[: len(whole) // 2])
    assert f"image {image} does not decode" in fails(name, root, home, workers)
    image.unlink()
    assert f"the first is {image.name}" in fails(name, root, home, workers)


def fails(name: str, root: Path, home: Path, workers: int = 0, **params: Any) -> str:
    with pytest.raises(BenchError) as caught:
        make(component(name, **params), root, runtime(home, workers))
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
    return str(caught.value)


def edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        text = (root / name).read_text()
        assert old in text
        (root / name).write_text(text.replace(old, new))

    return change


def cars_labels(*rows: tuple[str, int | None]) -> Callable[[Path], None]:
    return lambda root: savemat(root / "cars_test_annos_withlabels.mat", annotations(list(rows)))


DAMAGE: list[tuple[str, Callable[[Path], None], str]] = [
    (
        "cub",
        edit("train_test_split.txt", "6 0\n", ""),
        "train_test_split.txt and images.txt list other",
    ),
    (
        "cub",
        edit("image_class_labels.txt", "5 3", "5 9"),
        "bird_0005.jpg has class number 9, there are 3",
    ),
    ("cub", edit("image_class_labels.txt", "5 3", "5 x"), "holds 'x' where a number belongs"),
    (
        "cub",
        edit("images.txt", "3 002.Gull", "3 002. Gull"),
        "holds '3 002. Gull/bird_0003.jpg', not 'NUM",
    ),
    ("cub", edit("classes.txt", "2 002", "4 002"), "does not count from 1"),
    ("cub", lambda root: (root / "classes.txt").unlink(), "no classes.txt in"),
    (
        "flowers",
        lambda root: (root / "setid.mat").write_bytes(b"MATLAB 5.0"),
        "is not a readable MATLAB file",
    ),
    (
        "flowers",
        lambda root: savemat(root / "setid.mat", {"trnid": [1]}),
        "has no variable 'valid'",
    ),
    (
        "flowers",
        lambda root: savemat(root / "imagelabels.mat", {"labels": [1, 2]}),
        ".mat has 2 labels",
    ),
    (
        "flowers",
        lambda root: savemat(root / "imagelabels.mat", {"labels": [103] * 6}),
        "class number 103",
    ),
    (
        "cars",
        cars_labels(("00001.jpg", None), ("00002.jpg", None)),
        "annotation without fname and class",
    ),
    (
        "cars",
        cars_labels(("00001.jpg", 1), ("00009.jpg", 2)),
        "lacks 1 of 2 files, the first is 00009",
    ),
    (
        "cars",
        cars_labels(("00001.jpg", 1), ("00001.jpg", 2)),
        "cars_test/00001.jpg is listed twice",
    ),
    ("cars", lambda root: (root / "devkit/cars_meta.mat").unlink(), "no devkit/cars_meta.mat in"),
    (
        "aircraft",
        edit("data/images_variant_test.txt", "F/A-18", "F/A-19"),
        "has the variant 'F/A-19', which",
    ),
    (
        "aircraft",
        edit("data/images_variant_test.txt", " F/A-18", ""),
        "holds '0000300', not 'IMAGE VARIANT'",
    ),
    (
        "aircraft",
        lambda root: (root / "data/images_variant_trainval.txt").unlink(),
        "has no list 'trainval'",
    ),
    (
        "indoor67",
        edit("TestImages.txt", "artstudio/x.jpg", "x.jpg"),
        "holds 'x.jpg', not CLASS/IMAGE",
    ),
    (
        "indoor67",
        edit("TrainImages.txt", "bar/bar_2.JPG", "bar/bar_1.jpg"),
        "bar/bar_1.jpg is listed twice",
    ),
    ("indoor67", lambda root: (root / "TestImages.txt").write_text("\n"), "split val is empty"),
    ("pets", edit("annotations/test.txt", "Bengal_6 3 ", "Bengal 3 "), "holds 'Bengal', breed 3"),
    (
        "pets",
        edit("annotations/test.txt", "Bengal_6 3 ", "Bengal_6 1 "),
        "breed 1 is Abyssinian and Bengal",
    ),
    (
        "pets",
        lambda root: lines(root / "annotations/trainval.txt", "Bengal_5 5 1 1"),
        "no image of breed",
    ),
    (
        "dtd",
        edit("labels/test1.txt", "banded/banded_", "banded/grid_"),
        "not CLASS/CLASS_NUMBER.jpg",
    ),
    ("dtd", lambda root: (root / "labels/val1.txt").unlink(), "no labels/val1.txt in"),
]


@pytest.mark.parametrize(
    ("name", "damage", "message"), DAMAGE, ids=[f"{n}-{m[:24]}" for n, _, m in DAMAGE]
)
def test_lists_that_are_damaged(
    name: str, damage: Callable[[Path], None], message: str, tmp_path: Path, home: Path
) -> None:
    root = every(name, tmp_path).root
    damage(root)
    text = fails(name, root, home)
    assert message in text, text


@pytest.mark.parametrize("name", NAMES)
def test_lists_that_a_set_does_not_have(name: str, tmp_path: Path, home: Path) -> None:
    root = every(name, tmp_path).root
    assert f"unknown list of data '{name}' 'trian'" in fails(name, root, home, train="trian")


def test_cars_without_labels_of_the_test_images_have_no_val(tmp_path: Path, home: Path) -> None:
    root = every("cars", tmp_path).root
    file = root / "cars_test_annos_withlabels.mat"
    file.rename(root / "devkit" / file.name)
    assert len(split(component("cars"), root, home, "val")) == 2
    (root / "devkit" / file.name).unlink()
    assert len(split(component("cars"), root, home)) == 3
    with pytest.raises(BadData, match=r"has no list 'test', the val of cars; get cars_train\.tgz"):
        split(component("cars"), root, home, "val")


def test_one_annotation_is_a_list_too(tmp_path: Path, home: Path) -> None:
    """MATLAB files do not tell a struct from an array of one."""
    root = every("cars", tmp_path).root
    cars_labels(("00002.jpg", 2))(root)
    assert split(component("cars"), root, home, "val").ids.tolist() == [1_000_002]


def test_the_credit_line_of_aircraft_is_cut_unless_it_is_wanted(
    tmp_path: Path, home: Path
) -> None:
    root = every("aircraft", tmp_path).root
    cut, kept = (
        split(component("aircraft"), root, home),
        split(component("aircraft", banner=True), root, home),
    )
    assert cut.sizes.tolist() == [[60, 20]] * 2
    assert kept.sizes.tolist() == [[60, 40]] * 2
    assert np.array_equal(cut.image(1), kept.image(1)[:20])


def test_divisions_of_dtd(tmp_path: Path, home: Path) -> None:
    root = every("dtd", tmp_path).root
    images = split(component("dtd", train="train2+val2", val="test2"), root, home)
    assert images.ids.tolist() == [2, 4, 10_002, 10_004]
    with pytest.raises(
        BadInput, match=r"dtd\.train=train1\+val2: images/banded/banded_0002\.jpg is listed twice"
    ):
        split(component("dtd", train="train1+val2"), root, home)


def test_another_number_than_published_is_noted(tmp_path: Path, home: Path) -> None:
    from bench.data.layouts.listed import ListedSet

    notes: list[str] = []
    known = every("cub", tmp_path)
    data: Any = component("cub")
    assert isinstance(data, ListedSet)

    class Heard:
        progress = type("P", (), {"note": lambda self, text: notes.append(text)})()

    data._compare(Heard(), "train", 3)
    data._compare(Heard(), "val", 5794)
    assert notes == ["cub train: 3 images, the published lists have 5994"]
    assert len(known.train) == 3
