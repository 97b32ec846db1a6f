"""The first look at masks as text against decoding each of them: what it passes would have passed,
unchanged; what it does not know is decoded."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from bench.data.findings import Findings
from bench.data.layouts import coco_index, coco_join
from bench.data.layouts.coco_entries import CocoFile
from bench.data.layouts.coco_file import Wrong, parse_coco
from bench.data.layouts.coco_index import index_coco
from bench.data.layouts.coco_masks import check_place, read_mask
from bench.data.layouts.coco_scan import ABSENT, POLYGONS, UNKNOWN, scan_masks

BOX = (10.0, 20.0, 30.0, 5.0)
TEXTS = {
    "[[12,21,13,21,13,22]]": POLYGONS,
    "[ [ 12.25 , 21.5,\n13,21,13,22 ],\t[12,21,13,21,13,22,14,22] ]": POLYGONS,
    "[[10,20,40,25,-13,2200]]": POLYGONS,
    "[[40,25,10,20,13,22]]": POLYGONS,
    "[[40.01,25,10,20,13,22]]": UNKNOWN,  # its first point is outside
    "[[9,21,13,21,13,22]]": UNKNOWN,
    "[[-1,-1,-2,-2,-3,-3]]": UNKNOWN,
    "null": ABSENT,
    "[]": ABSENT,
    "[[]]": UNKNOWN,
    "[[1]]": UNKNOWN,
    "[[12,21,13,21]]": UNKNOWN,
    "[[12,21,13,21,13]]": UNKNOWN,
    "[[12,21,13,21,13,22,14]]": UNKNOWN,
    "[[12,21,13,21,13,22],[]]": UNKNOWN,
    "[[12,21,13,21,13,22],[1,2,3,4]]": UNKNOWN,
    "[12,21,13,21,13,22]": UNKNOWN,
    "[[12,21,13,21,13,22],7]": UNKNOWN,
    "[[12,21,[13],21,13,22]]": UNKNOWN,
    "[[12,21,13,21,13,null]]": UNKNOWN,
    "[[12,21,13,21,13,true]]": UNKNOWN,
    '[[12,21,13,21,13,"22"]]': UNKNOWN,
    '[["","","","","",""]]': UNKNOWN,
    "[[12,21,13,21,13,2e1]]": UNKNOWN,
    "[[12,21,13,21,13,1e999]]": UNKNOWN,
    f"[[12,21,13,21,13,{'9' * 400}]]": UNKNOWN,
    f"[[12,21,13,21,13,{'9' * 400}.5]]": UNKNOWN,
    "{}": UNKNOWN,
    '{"size":[48,64],"counts":[1,2,3069]}': UNKNOWN,
    '"[[12,21,13,21,13,22]]"': UNKNOWN,
    '"\0"': UNKNOWN,
    "12": UNKNOWN,
}


def boxes_of(count: int) -> np.ndarray:
    return np.tile(np.array(BOX), (count, 1))


def raw(text: str) -> Any:
    return msgspec.Raw(text.encode())


@pytest.mark.parametrize("text", TEXTS)
def test_what_a_text_is(text: str) -> None:
    """Each alone, as a number of 400 digits leaves all that it is looked at with to decoding."""
    assert scan_masks([raw(text)], boxes_of(1)).tolist() == [TEXTS[text]]


def test_what_is_passed_would_have_passed() -> None:
    passed = [text for text, kind in TEXTS.items() if kind != UNKNOWN]
    for text in passed:
        mask = raw(text)
        kept, extent = read_mask(mask, (64, 48))
        if TEXTS[text] == ABSENT:
            assert (kept, extent) == (None, None)
        else:
            assert kept is mask
            assert extent is not None
            check_place(extent, BOX)


def test_texts_do_not_depend_on_their_neighbours() -> None:
    plain = [text for text in TEXTS if "\0" not in text and "9" * 300 not in text]
    many = [*plain, *plain[::-1]] * 100  # more than are looked at together
    got = scan_masks([raw(text) for text in many], boxes_of(len(many)))
    assert got.tolist() == [TEXTS[text] for text in many]


def test_what_holds_none_or_is_decoded() -> None:
    polygon = "[[12,21,13,21,13,22]]"
    assert scan_masks([None, raw(polygon), None], boxes_of(3)).tolist() == [2, 1, 2]
    assert scan_masks([None, json.loads(polygon)], boxes_of(2)).tolist() == [UNKNOWN] * 2
    assert scan_masks([], boxes_of(0)).tolist() == []


def test_a_first_point_outside_is_no_finding_where_the_mask_touches_the_box() -> None:
    mask = raw("[[9,21,13,21,13,22]]")
    kept, extent = read_mask(mask, (64, 48))
    assert kept is mask
    assert extent == (9, 21, 13, 22)


@pytest.mark.parametrize("number", ["1e999", "9" * 400, "9" * 400 + ".5"])
def test_k_numbers_beyond_all_floats_are_findings(number: str) -> None:
    """They ended in a traceback: msgspec's error, or OverflowError."""
    text = f"[[12,21,13,21,13,{number}]]"
    for mask in (raw(text), json.loads(text)):
        with pytest.raises(Wrong, match=r"cannot be read|is not x, y|a polygon of its"):
            read_mask(mask, (64, 48))


def file_of(count: int, seed: int) -> CocoFile:
    rng = np.random.default_rng(seed)
    images = [
        {"id": int(i), "file_name": f"{i}.png", "width": 64, "height": 48}
        for i in rng.permutation(20) + 1
    ]
    annotations = []
    for number in rng.permutation(count) + 1:
        x, y, w, h = (float(v) for v in rng.uniform([-20, -20, 0, 0], [70, 50, 40, 40]))
        points = [x, y, x + w, y, x + w, y + h]
        annotations.append(
            {
                "id": int(number),
                "image_id": int(rng.integers(1, 21)),
                "category_id": int(rng.integers(3, 5)),
                "bbox": [x, y, w, h],
                "iscrowd": int(rng.integers(0, 2)),
                "area": None if number % 3 else w,
                "segmentation": None if number % 5 == 0 else [points],
                "keypoints": [x, y, 2, 0, 0, 0] if number % 4 else None,
            }
        )
    categories = [{"id": 4, "name": "cat"}, {"id": 3, "name": "dog"}]
    findings = Findings()
    content = {"images": images, "annotations": annotations, "categories": categories}
    file = parse_coco(content, "f", findings)
    findings.refuse()
    return file


def test_the_index_is_that_of_each_object_alone(tmp_path: Path) -> None:
    """Clipping, order, area and what is dropped, computed object by object in plain Python."""
    file, findings = file_of(200, 0), Findings()
    counts = index_coco(tmp_path, file, ["dog", "cat"], findings, ("a", "b"))
    findings.refuse()
    kept, clipped = [], 0
    for item in sorted(file_of(200, 0).objects, key=lambda o: (o.image, o.id)):
        x, y, w, h = item.box
        corners = (x, y, x + w, y + h)
        inside = [min(max(v, 0.0), s) for v, s in zip(corners, (64, 48, 64, 48), strict=True)]
        if inside[2] - inside[0] < 0.01 or inside[3] - inside[1] < 0.01:
            continue
        clipped += any(abs(a - b) > 0.5 for a, b in zip(inside, corners, strict=True))
        kept.append((item, inside))
    assert 0 < len(kept) < 200
    assert counts == {
        "images": 20,
        "objects": len(kept),
        "clipped": clipped,
        "dropped": 200 - len(kept),
        "unmasked": sum(o.segmentation is None for o, _ in kept),
        "remarks": [],
    }
    columns = {path.stem: np.load(path) for path in tmp_path.glob("*.npy")}
    assert columns["object_ids"].tolist() == [o.id for o, _ in kept]
    np.testing.assert_array_equal(columns["boxes"], np.array([b for _, b in kept], np.float32))
    assert columns["labels"].tolist() == [o.category - 3 for o, _ in kept]
    assert columns["crowd"].tolist() == [o.crowd for o, _ in kept]
    areas = [o.box[2] * o.box[3] if o.area is None else o.area for o, _ in kept]
    assert columns["area"].tolist() == areas
    assert columns["ids"].tolist() == list(range(1, 21))
    first = np.searchsorted([o.image for o, _ in kept], range(1, 22)).tolist()
    assert columns["first"].tolist() == first
    points = [o.keypoints or [0] * 6 for o, _ in kept]
    np.testing.assert_array_equal(columns["keypoints"].reshape(-1, 6), np.float32(points))
    at = columns["masks_at"]
    texts = [bytes(columns["masks"][a:b]) for a, b in pairwise(at)]
    assert [json.loads(text) for text in texts] == [o.segmentation for o, _ in kept]


def test_findings_come_in_the_order_of_ids(tmp_path: Path) -> None:
    file, findings = file_of(30, 1), Findings()
    for at in (3, 20, 11):
        file.objects.segmentations[at] = [[1, 2, 3]]
    index_coco(tmp_path / "index", file, ["dog", "cat"], findings)
    numbers = sorted(int(file.objects.ids[at]) for at in (3, 20, 11))
    lines = [line for line in findings.lines() if "a polygon of its" in line]
    assert [f"annotation {n}:" in line for n, line in zip(numbers, lines, strict=True)] == [
        True
    ] * 3
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize("moved", [0, 4])
def test_keypoints_joined_by_id_are_those_joined_one_by_one(
    moved: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined = []
    for quick in (True, False):
        file, persons = file_of(60, 2), file_of(60, 2)
        file.objects.keypoints = [None] * 60
        for at in range(moved):
            persons.objects.ids[at] += 1000
        if not quick:
            monkeypatch.setattr(coco_join, "_match_by_id", lambda *_: None)
        findings = Findings()
        joined.append((coco_join.join_keypoints(file, persons, findings), list(file.objects)))
        findings.refuse()
    assert joined[0] == joined[1]
    assert any(item.keypoints for item in joined[0][1])


def test_every_mask_that_is_not_plain_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []

    def note(mask: Any, size: tuple[int, int]) -> Any:
        decoded.append(mask)
        return read_mask(mask, size)

    monkeypatch.setattr(coco_index, "read_mask", note)
    file = file_of(30, 3)
    index_coco(tmp_path, file, ["dog", "cat"], Findings())
    assert len(decoded) == 30  # lists, which were not read as text
