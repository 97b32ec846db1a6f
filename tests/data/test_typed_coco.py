"""The typed decoding of COCO files against the reader that goes entry by entry: the same values,
or none; never a value where the other has a finding."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.core.errors import BadData
from bench.data.findings import Findings
from bench.data.layouts import coco_typed
from bench.data.layouts.coco_file import CocoFile, load_coco, load_names, parse_coco
from bench.data.layouts.coco_index import index_coco
from bench.data.layouts.coco_masks import plain

Change = Callable[[dict[str, Any]], object]


def good() -> dict[str, Any]:
    polygons = [[2.5, 3, 40, 3.25, 40, 30]]
    runs = {"size": [48, 64], "counts": [100, 20, 48 * 64 - 120]}
    points = [5, 6, 2, 0, 0, 0]
    common = {"image_id": 7, "category_id": 3, "iscrowd": 0}
    return {
        "info": {"year": 2017},
        "images": [{"id": 7, "file_name": "a/b.jpg", "width": 64, "height": 48, "license": 3}],
        "annotations": [
            {**common, "id": 1, "bbox": [2, 3.0, 38, 27.5], "segmentation": polygons},
            {**common, "id": 2, "bbox": [2, 4, 1, 20], "segmentation": runs, "iscrowd": 1},
            {**common, "id": 5, "bbox": [1, 1, 9, 9], "area": 12.5, "keypoints": points},
            {**common, "id": 9, "bbox": [1, 1, 9, 9], "segmentation": None, "area": None},
            {**common, "id": 4, "bbox": [2, 3, 9, 9], "segmentation": [[2, 3], *polygons]},
        ],
        "categories": [{"id": 3, "name": "cat", "supercategory": "x", "keypoints": ["a", "b"]}],
    }


def both(content: Any) -> tuple[CocoFile | None, CocoFile, Findings]:
    findings = Findings()
    slow = parse_coco(content, "f", findings)
    return coco_typed.read_typed(json.dumps(content).encode(), "f"), slow, findings


def as_plain(file: CocoFile) -> Any:
    return (
        file.images,
        file.categories,
        [o._replace(segmentation=plain(o.segmentation)) for o in file.objects],
    )


def test_a_good_file_has_the_same_values() -> None:
    typed, slow, findings = both(good())
    assert typed is not None
    assert not findings
    assert as_plain(typed) == as_plain(slow)
    assert [type(v) for v in typed.objects[0].box] == [float] * 4


CHANGES: dict[str, Change] = {
    "id twice": lambda c: c["annotations"][1].update(id=1),
    "image id twice": lambda c: c["images"].append({**c["images"][0], "file_name": "c.jpg"}),
    "id is text": lambda c: c["annotations"][0].update(id="1"),
    "id is true": lambda c: c["annotations"][0].update(id=True),
    "id is 1.5": lambda c: c["images"][0].update(id=1.5),
    "id of 64 bits": lambda c: c["annotations"][0].update(id=1 << 63),
    "id of 80 bits": lambda c: c["annotations"][0].update(id=1 << 80),
    "id is null": lambda c: c["annotations"][0].update(id=None),
    "width is 0": lambda c: c["images"][0].update(width=0),
    "width is text": lambda c: c["images"][0].update(width="64"),
    "no file name": lambda c: c["images"][0].update(file_name=" "),
    "a file name of zeros": lambda c: c["images"][0].update(file_name="a\0"),
    "three numbers": lambda c: c["annotations"][0].update(bbox=[1, 2, 3]),
    "five numbers": lambda c: c["annotations"][0].update(bbox=[1, 2, 3, 4, 5]),
    "a negative side": lambda c: c["annotations"][0].update(bbox=[1, 2, -3, 4]),
    "box with null": lambda c: c["annotations"][0].update(bbox=[1, 2, 3, None]),
    "box beyond 63 bits": lambda c: c["annotations"][0].update(bbox=[1, 2, 3, 1e30]),
    "box with NaN": lambda c: c["annotations"][0].update(bbox=[1, 2, 3, float("nan")]),
    "crowd is 2": lambda c: c["annotations"][0].update(iscrowd=2),
    "crowd is text": lambda c: c["annotations"][0].update(iscrowd="0"),
    "crowd is true": lambda c: c["annotations"][0].update(iscrowd=True),
    "crowd is null": lambda c: c["annotations"][0].update(iscrowd=None),
    "a negative area": lambda c: c["annotations"][0].update(area=-1),
    "an area of text": lambda c: c["annotations"][0].update(area="3"),
    "keypoints of four": lambda c: c["annotations"][2].update(keypoints=[1, 2, 2, 3]),
    "visibility of 3": lambda c: c["annotations"][2].update(keypoints=[1, 2, 3]),
    "keypoints of text": lambda c: c["annotations"][2].update(keypoints="abc"),
    "fewer labelled": lambda c: c["annotations"][2].update(num_keypoints=0),
    "labelled is -1": lambda c: c["annotations"][2].update(num_keypoints=-1),
    "no keypoints": lambda c: c["annotations"][2].update(keypoints=[]),
    "a category without name": lambda c: c["categories"][0].update(name=""),
    "a category of number": lambda c: c["categories"][0].update(name=3),
    "keypoints named twice": lambda c: c["categories"][0].update(keypoints=["a", "a"]),
    "keypoints are null": lambda c: c["categories"][0].update(keypoints=None),
    "an entry is a list": lambda c: c["annotations"].append([]),
    "annotations is a dict": lambda c: c.update(annotations={}),
    "no bbox": lambda c: c["annotations"][0].pop("bbox"),
    "whole floats": lambda c: c["annotations"][0].update(id=3.0),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_value_is_never_other_than_the_readers(change: str) -> None:
    content = good()
    CHANGES[change](content)
    typed, slow, findings = both(content)
    if typed is not None:
        assert not findings
        assert as_plain(typed) == as_plain(slow)


def test_what_is_refused_and_what_is_not() -> None:
    """Most changes are faults, so that the test above is not empty; some are none."""
    refused = set()
    for name, change in CHANGES.items():
        content = good()
        change(content)
        if both(content)[0] is None:
            refused.add(name)
    assert {"fewer labelled", "no keypoints"}.isdisjoint(refused)
    assert len(refused) > 30


def test_both_ways_write_the_same_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Masks are written as the file has them, and mean the same."""
    file = tmp_path / "a.json"
    file.write_text(json.dumps(good(), indent=1))
    for name in ("typed", "slow"):
        if name == "slow":
            monkeypatch.setattr(coco_typed, "read_typed", lambda data, name: None)
        findings = Findings()
        read = load_coco(file, "x", findings)
        index_coco(tmp_path / name, read, ["cat"], findings, ("a", "b"))
        findings.refuse()
    arrays = {path.name for path in (tmp_path / "slow").glob("*.npy")}
    assert {path.name for path in (tmp_path / "typed").glob("*.npy")} == arrays
    for name in arrays - {"masks.npy", "masks_at.npy"}:
        np.testing.assert_array_equal(
            np.load(tmp_path / "typed" / name), np.load(tmp_path / "slow" / name)
        )
    assert read_masks(tmp_path / "typed") == read_masks(tmp_path / "slow")


def read_masks(folder: Path) -> list[Any]:
    whole, at = np.load(folder / "masks.npy"), np.load(folder / "masks_at.npy")
    return [json.loads(bytes(whole[a:b])) for a, b in pairwise(at)]


@pytest.mark.parametrize("change", CHANGES)
def test_names_alone_are_those_of_the_whole_file(change: str, tmp_path: Path) -> None:
    content = good()
    CHANGES[change](content)
    file = tmp_path / "a.json"
    file.write_text(json.dumps(content))
    names = [
        image.file for image in parse_coco(json.loads(file.read_text()), "f", Findings()).images
    ]
    assert load_names(file, "x") == names


def test_a_cut_file_is_said_to_be_half_written(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(good())[:-40])
    with pytest.raises(BadData, match="half-written"):
        load_coco(tmp_path / "a.json", "COCO train annotations", Findings())
