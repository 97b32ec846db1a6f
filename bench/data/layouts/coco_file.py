"""The schema of a COCO file: what each entry must be, checked entry by entry, nothing guessed.

Numbers are JSON numbers. null is missing. A whole number that was written as text is accepted
where it can mean one thing only ("96", not "007" or "1.5e2"), and counted. All other types are
findings, each with its file, entry, value and rule.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bench.core.errors import BadData
from bench.data.files import parse_json, read_bytes
from bench.data.findings import Findings
from bench.data.layouts import coco_typed
from bench.data.layouts.coco_entries import LARGEST as LARGEST
from bench.data.layouts.coco_entries import CocoCategory as CocoCategory
from bench.data.layouts.coco_entries import CocoFile as CocoFile
from bench.data.layouts.coco_entries import CocoImage as CocoImage
from bench.data.layouts.coco_entries import CocoObject as CocoObject
from bench.data.layouts.coco_entries import CocoObjects as CocoObjects

NUMBER = re.compile(r"-?(0|[1-9]\d{0,18})(\.\d{1,18})?", re.ASCII)
REQUIRED = {
    "images": ("id", "file_name", "width", "height"),
    "annotations": ("id", "image_id", "category_id", "bbox"),
    "categories": ("id", "name"),
}


class Wrong(ValueError):
    """A value that breaks a rule: `kind` is the rule alone, the text names the value too."""

    def __init__(self, kind: str, line: str) -> None:
        super().__init__(line)
        self.kind = kind


def load_coco(
    file: Path, what: str, findings: Findings, advice: str = "download them again"
) -> CocoFile:
    """The file, read and checked; faults of its entries go to `findings`, BadData where it is no
    COCO file at all. advice: what to do where it cannot be read."""
    data = read_bytes(file, what, advice)
    typed = coco_typed.read_typed(data, str(file))
    if typed is None:
        return parse_coco(parse_json(data, file, what, advice), str(file), findings)
    del data
    _check_names(typed, findings)
    _check_references(typed, findings)
    return typed


def load_names(file: Path, what: str, advice: str = "download them again") -> list[str]:
    """The file names of the images, those whose entries are right; much quicker than all of the
    file. BadData where it is no COCO file."""
    data = read_bytes(file, what, advice)
    names = coco_typed.read_names(data)
    if names is not None:
        return names
    content = parse_json(data, file, what, advice)
    return [image.file for image in parse_coco(content, str(file), Findings()).images]


def parse_coco(content: Any, name: str, findings: Findings) -> CocoFile:
    """The entries of a COCO dict; `name` is what findings call it."""
    if not isinstance(content, dict) or not set(REQUIRED) <= set(content):
        raise BadData(
            f"{name} is not a COCO instances file: it lacks images, annotations or categories"
        )
    reader = _Reader(name, findings)
    file = CocoFile(
        name,
        list(reader.read(content, "images", _image)),
        CocoObjects.of(list(reader.read(content, "annotations", _object))),
        list(reader.read(content, "categories", _category)),
    )
    file.texts = reader.texts
    _check_names(file, findings)
    _check_references(file, findings)
    return file


class _Reader:
    """Reads the values of entries, and counts numbers that are text."""

    def __init__(self, name: str, findings: Findings) -> None:
        self.name, self.findings, self.texts = name, findings, 0

    def read(self, content: dict[str, Any], part: str, read_entry: Any) -> Iterator[Any]:
        """The entries of a list that are right; no id twice."""
        entries, seen = content[part], set()
        if not isinstance(entries, list):
            self.findings.add("no list", f"{self.name}: {part} is not a list of entries")
            return
        for at, entry in enumerate(entries):
            try:
                if not isinstance(entry, dict):
                    raise Wrong("no entry", f"{_show(entry)} is not an entry with fields")
                lacks = [f for f in REQUIRED[part] if entry.get(f) is None]
                if lacks:
                    raise Wrong(f"{part} lack {lacks[0]}", f"lacks {', '.join(lacks)}")
                value = read_entry(self, entry)
                if value.id in seen:
                    raise Wrong(f"{part} list an id twice", f"{part} list an id twice")
            except Wrong as wrong:
                number = entry.get("id") if isinstance(entry, dict) else None
                which = f"{part}[{at}]" + (f" (id {_show(number)})" if number is not None else "")
                self.findings.add(wrong.kind, f"{self.name}: {which}: {wrong}")
                continue
            seen.add(value.id)
            yield value

    def whole(self, entry: dict[str, Any], field: str, least: int = -LARGEST) -> int:
        value = entry[field]
        if type(value) is not int:
            number = self._number(value, field, "a whole number")
            if number != int(number):
                raise Wrong(
                    f"{field} is not a whole number", f"{field} is {value}, not a whole number"
                )
            value = int(value) if isinstance(value, str) and "." not in value else int(number)
        if not least <= value <= LARGEST:
            rule = {1: "a positive whole number", 0: "a whole number of 0 or more"}.get(
                least, "a whole number of at most 63 bits"
            )
            raise Wrong(f"{field} is not {rule}", f"{field} is {_show(value)}, not {rule}")
        return int(value)

    def number(self, value: Any, field: str) -> float:
        if type(value) is float and math.isfinite(value):
            return value
        return self._number(value, field, "a number")

    def _number(self, value: Any, field: str, rule: str) -> float:
        if isinstance(value, str) and NUMBER.fullmatch(value):
            self.texts += 1
            return float(value)
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
            raise Wrong(f"{field} is not {rule}", f"{field} is {_show(value)}, not {rule}")
        if abs(value) > LARGEST:
            raise Wrong(f"{field} is too large", f"{field} is {_show(value)}, more than 63 bits")
        return float(value)

    def flag(self, entry: dict[str, Any], field: str) -> bool:
        value = entry.get(field)
        if value is None or value is False or (type(value) is int and value == 0):
            return False
        number = None if isinstance(value, str) and not NUMBER.fullmatch(value) else value
        if number in (0, 1, "0", "1"):
            self.texts += isinstance(value, str)
            return float(value) == 1
        raise Wrong(f"{field} is not 0 or 1", f"{field} is {_show(value)}, not 0 or 1")


def _image(reader: _Reader, entry: dict[str, Any]) -> CocoImage:
    name = entry["file_name"]
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise Wrong("file_name is not a name", f"file_name is {_show(name)}, not a file's name")
    size = reader.whole(entry, "width", 1), reader.whole(entry, "height", 1)
    return CocoImage(reader.whole(entry, "id"), name, size)


def _category(reader: _Reader, entry: dict[str, Any]) -> CocoCategory:
    name, points = entry["name"], entry.get("keypoints") or []
    if not isinstance(name, str) or not name.strip():
        raise Wrong("name is not a text", f"name is {_show(name)}, not a text")
    if not isinstance(points, list) or not all(isinstance(p, str) for p in points):
        raise Wrong(
            "keypoints are not names", f"keypoints is {_show(points)}, not a list of names"
        )
    if len(set(points)) < len(points):
        raise Wrong("keypoints name one twice", f"keypoints {_show(points)} name one twice")
    return CocoCategory(reader.whole(entry, "id"), name, tuple(points))


def _object(reader: _Reader, entry: dict[str, Any]) -> CocoObject:
    box = entry["bbox"]
    if not isinstance(box, list | tuple) or len(box) != 4:
        raise Wrong(
            "bbox is not a box of four numbers", f"bbox is {_show(box)}, not a box of four numbers"
        )
    x, y, width, height = (reader.number(v, "a value of bbox") for v in box)
    if width < 0 or height < 0:
        side = "width" if width < 0 else "height"
        raise Wrong(
            "bbox has a negative side",
            f"bbox is {_show(box)}, whose {side} is negative (x, y, width, height)",
        )
    area = entry.get("area")
    if area is not None:
        area = reader.number(area, "area")
        if area < 0:
            raise Wrong("area is negative", f"area is {_show(area)}, not a number of 0 or more")
    points = read_keypoints(reader, entry)
    labelled = sum(v > 0 for v in points[2::3]) if points else 0
    if points and entry.get("num_keypoints") is not None:
        labelled = reader.whole(entry, "num_keypoints", 0)
    return CocoObject(
        reader.whole(entry, "id"),
        reader.whole(entry, "image_id"),
        reader.whole(entry, "category_id"),
        (x, y, width, height),
        reader.flag(entry, "iscrowd"),
        area,
        entry.get("segmentation"),
        points,
        labelled,
    )


def read_keypoints(reader: _Reader, entry: dict[str, Any]) -> list[float] | None:
    """The flat x, y, visibility of an entry, three numbers a keypoint; None where it has none."""
    points = entry.get("keypoints")
    if points is None or points == []:
        return None
    if not isinstance(points, list) or len(points) % 3:
        raise Wrong(
            "keypoints are not x, y, visibility",
            f"keypoints is {_show(points)}, not x, y, visibility for each",
        )
    values = [reader.number(v, "a value of keypoints") for v in points]
    wrong = [v for v in values[2::3] if v not in (0, 1, 2)]
    if wrong:
        raise Wrong(
            "visibility is not 0, 1 or 2", f"a keypoint's visibility is {wrong[0]}, not 0, 1 or 2"
        )
    return values


def _check_names(file: CocoFile, findings: Findings) -> None:
    """No category name twice (classes are joined by name), no file under two ids."""
    for name, first, other in _find_twins((c.name, c.id) for c in file.categories):
        findings.add(
            "two categories have one name",
            f"{file.name}: categories {first} and {other} are both named {name!r}; classes are "
            "told apart by name",
        )
    for path, first, other in _find_twins((i.file, i.id) for i in file.images):
        findings.add(
            "two images have one file",
            f"{file.name}: images {first} and {other} both have the file {path!r}; one picture "
            "has one id",
        )


def _find_twins(named: Iterable[tuple[str, int]]) -> Iterator[tuple[str, int, int]]:
    """(name, id of the first, id) of every entry whose name an earlier one has."""
    first: dict[str, int] = {}
    for name, number in named:
        if name in first:
            yield name, first[name], number
        first.setdefault(name, number)


def _check_references(file: CocoFile, findings: Findings) -> None:
    """Objects name images and categories of the file. They are left out where entries of those
    were refused already, which has its own findings."""
    if findings:
        return
    objects = file.objects
    categories = np.array([c.id for c in file.categories], np.int64)
    lost = (file.places < 0) | ~np.isin(objects.categories, categories)
    for at in np.flatnonzero(lost):
        findings.add(
            "an annotation names what does not exist",
            f"{file.name}: annotation {objects.ids[at]} names image {objects.images[at]} and "
            f"category {objects.categories[at]}, one of which does not exist",
        )


def _show(value: Any) -> str:
    """A value in an error, at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
