"""Masks and skeletons of COCO files as people have them, looked at while the index is made (kind K
of docs/design/data.md)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from bench.contracts.images import Subset
from bench.core.errors import BadData
from bench.data.layouts.coco_file import Wrong
from bench.data.layouts.coco_masks import read_mask
from tasks._detection.pipeline import prepare_split
from tests.data.found_coco import (
    SIZE,
    Content,
    Edit,
    index,
    keypoints_of,
    polygon,
    refused,
    write,
    write_persons,
)

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


def test_k_masks_without_three_points_are_remarked(tmp_path: Path) -> None:
    root = write(tmp_path / "coco", masks(lambda b: [polygon(*b)[0][:4]]))
    _, report = index(root, tmp_path / "home")
    said = "6 masks have no polygon of three points and are left out"
    assert report["train"]["remarks"] == [said]
    none = write(tmp_path / "none", masks(lambda b: []))
    assert index(none, tmp_path / "other")[1]["train"]["remarks"] == []
