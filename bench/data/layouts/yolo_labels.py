"""Label files of YOLO: a line for each object, its class and its box or its outline, in shares of
the image's width and height."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from bench.core.errors import BadData
from bench.data.findings import Findings
from bench.data.layouts.voc_files import OBJECTS
from bench.data.layouts.yolo_yaml import read_text

NUMBER = re.compile(r"[+-]?(\d{1,18}(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
SLACK = 0.01  # by which rounding, and what Ultralytics reads, leave 0..1


class Label(NamedTuple):
    """An object. box: (x1, y1, x2, y2) in shares of the image. outline: x, y, x, y, ... in shares;
    empty where the line is a box. line: its number."""

    label: int
    box: tuple[float, float, float, float]
    outline: tuple[float, ...]
    line: int


class Labels(NamedTuple):
    """The objects of a file, each once; `repeated`: lines that are there again."""

    objects: list[Label]
    repeated: int


def label_file(image: str) -> str:
    """Where the labels of an image are: in labels/ instead of the last images/ of its path, or
    beside it."""
    head, folder, tail = f"/{image}".rpartition("/images/")
    stem = (f"{head}/labels/{tail}" if folder else tail).rpartition(".")[0]
    return f"{stem}.txt".removeprefix("/")


def read_labels(file: Path, classes: int, pose: bool, findings: Findings) -> Labels:
    """The labels of a file, whose faults go to `findings`. classes: how many there are. pose: a
    line goes on with keypoints, which are not read."""
    seen: dict[Label, int] = {}
    repeated = 0
    try:
        lines = read_text(file).splitlines()
    except BadData as error:
        findings.add("a label file cannot be read", str(error))
        return Labels([], 0)
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words:
            continue
        try:
            label = _read_line(words, classes, pose)
        except _Wrong as wrong:
            findings.add(wrong.kind, f"{file} line {number}: {wrong}")
            continue
        repeated += label in seen
        seen.setdefault(label, number)
    return Labels([label._replace(line=number) for label, number in seen.items()], repeated)


class _Wrong(ValueError):
    def __init__(self, kind: str, text: str = "") -> None:
        super().__init__(text or kind)
        self.kind = kind


def _read_line(words: list[str], classes: int, pose: bool) -> Label:
    values = [_number(word) for word in words]
    if values[0] != int(values[0]) or not 0 <= values[0] < classes:
        raise _Wrong(
            "the class is not one of the names",
            f"the class is {words[0]}, not a whole number from 0 to {classes - 1}",
        )
    numbers = values[1:5] if pose else values[1:]
    outline = len(numbers) >= 6 and len(numbers) % 2 == 0
    if len(numbers) != 4 and not outline:
        raise _Wrong(
            "a line has another number of values",
            f"{len(words)} values, but a line is CLASS X Y WIDTH HEIGHT, or CLASS and the x and y "
            "of at least three corners",
        )
    beyond = next((v for v in numbers if not -SLACK <= v <= 1 + SLACK), None)
    if beyond is not None:
        raise _Wrong(
            "a value is not a share of the image",
            f"{beyond:g} is not a share of the image in 0..1; are these pixels?",
        )
    if outline:
        xs, ys = numbers[::2], numbers[1::2]
        return Label(int(values[0]), (min(xs), min(ys), max(xs), max(ys)), tuple(numbers), 0)
    x, y, width, height = numbers
    if width < 0 or height < 0:
        raise _Wrong("a box has a negative side", f"the sides are {width:g} and {height:g}")
    box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return Label(int(values[0]), box, (), 0)


def _number(word: str) -> float:
    if not NUMBER.fullmatch(word):
        raise _Wrong("a value is no number", f"{word[:30]!r} is not a number")
    return float(word)


def to_pixels(
    label: Label, number: int, image: int, size: tuple[int, int]
) -> tuple[dict[str, Any] | None, bool]:
    """The annotation of a label as class `number` of an image of (width, height) `size`, None
    where its box is empty inside the image; and whether it was cut by more than half a pixel."""
    sides = (*size, *size)
    whole = [share * side for share, side in zip(label.box, sides, strict=True)]
    box = [min(max(v, 0.0), float(side)) for v, side in zip(whole, sides, strict=True)]
    clipped = max(abs(a - b) for a, b in zip(whole, box, strict=True)) > 0.5
    if box[2] - box[0] < 0.01 or box[3] - box[1] < 0.01:
        return None, clipped
    outline = [v * size[i % 2] for i, v in enumerate(label.outline)]
    annotation = {
        "box": box,
        "label": number,
        "crowd": False,
        "difficult": False,
        "area": _area(outline) if outline else (box[2] - box[0]) * (box[3] - box[1]),
        "id": image * OBJECTS + label.line,
        "segmentation": [outline] if outline else None,
        "keypoints": None,
    }
    return annotation, clipped


def _area(outline: list[float]) -> float:
    """The area of a polygon x, y, x, y, ... (the shoelace formula)."""
    points = list(zip(outline[::2], outline[1::2], strict=True))
    turned = [*points[1:], points[0]]
    return abs(sum(x * b - a * y for (x, y), (a, b) in zip(points, turned, strict=True))) / 2
