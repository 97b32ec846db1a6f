"""OpenImages with boxes, by default paper 001's subset:
frequent classes, at least two classes an image."""

from __future__ import annotations

import csv
from array import array
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bench.contracts.context import StageContext
from bench.contracts.data import HowToGet, WriteSample
from bench.contracts.images import ImageSet
from bench.core.errors import BadData, BadInput
from bench.core.files import write_json
from bench.core.params import Params, Runtime, param
from bench.core.stage import Stage
from bench.data.files import fingerprint, list_files, require
from bench.data.findings import Findings
from bench.data.index import IndexedImages, Row, write_index
from bench.data.layouts.labelled import Labelled, Listed, check_row
from bench.data.runner import note_repairs, read_splits

BOXES = {
    "train": ("oidv6-train-annotations-bbox.csv", "train-annotations-bbox.csv"),
    "validation": ("validation-annotations-bbox.csv",),
    "test": ("test-annotations-bbox.csv",),
}
SLACK = 0.01  # of the image, by which official boxes may reach beyond it
COLUMNS = ("ImageID", "LabelName", "XMin", "XMax", "YMin", "YMax", "IsGroupOf")


class OpenimagesParams(Params):
    """Which images: paper 001's rule. min_images 0 and min_classes 1 is every image with a box."""

    min_images: int = param(
        900, ge=0, help="training images a class must have, else it is dropped"
    )
    min_classes: int = param(2, ge=1, help="different kept classes a training image must show")
    val: Literal["validation", "test"] = param("validation", help="official split to score on")


class Openimages(Labelled):
    """OpenImages (Kuznetsova et al. 2020) from the official CSV files, boxes included.

    Subset (paper 001, section 2 and appendix A): training images with boxes of at least two
    classes, classes with at least 900 images; both are applied in turn until neither drops
    anything, and boxes of dropped classes are left out. The paper reports 212,753 images of 208
    classes with about 12 objects each, and about 40k test images; it does not say which release it
    drew from nor how, so `report.json` says what yours has. Val images are those with a box of a
    kept class. `IsGroupOf` boxes are crowds."""

    version = 2  # the orientation in XMP counts for sizes as it does for pixels
    Params = OpenimagesParams
    params: OpenimagesParams
    how_to_get = HowToGet(
        files={
            "oidv6-train-annotations-bbox.csv": 2300,
            "validation-annotations-bbox.csv": 25,
            "class-descriptions-boxable.csv": 0,
            "the images": 561_000,
        },
        site="the download page of OpenImages V6 or V7",
        layout=(
            "into one folder: the three CSV files, train/ and validation/ (the size is that of "
            "all 1.7 million images with boxes; the list of a subset can be fetched)"
        ),
    )
    sample_settings = ("min_images=1", "min_classes=1")

    @classmethod
    def sample(cls) -> WriteSample:
        from bench.data.scenes.layouts import write_openimages

        return write_openimages

    def _boxes(self, root: Path, split: str) -> Path:
        file = next((root / name for name in BOXES[split] if (root / name).is_file()), None)
        if file is None:
            raise BadData(f"{root} has no {BOXES[split][0]}; get {self.how_to_get}")
        return file

    def _official(self, root: Path) -> dict[str, str]:
        there = any((root / name).is_file() for name in BOXES[self.params.val])
        return {"train": "train"} | ({"val": self.params.val} if there else {})

    def stage(self, root: Path | None, runtime: Runtime) -> Stage:
        place = self.root(root)
        official = self._official(place)
        files = [self._boxes(place, o) for o in official.values()] + [
            place / "class-descriptions-boxable.csv"
        ]
        if not files[-1].is_file():
            raise BadData(f"{place} has no {files[-1].name}; get {self.how_to_get}")
        for name in official.values():
            if not (place / name).is_dir():
                raise BadData(f"{place} has no image folder {name}/; get {self.how_to_get}")
        return self.make_stage(
            place, runtime, fingerprint=fingerprint(files, [], runtime.home / "cache")
        )

    def run(self, ctx: StageContext) -> None:
        root = ctx.runtime.roots[ctx.stage.key]
        names = _class_names(root / "class-descriptions-boxable.csv")
        official = self._official(root)
        train, kept = choose(
            self._boxes(root, "train"), names, self.params.min_images, self.params.min_classes
        )
        if not kept:
            raise BadInput(
                f"no class of {root} has {self.params.min_images} images; "
                f"try: --set {self.name}.min_images=0 --set {self.name}.min_classes=1"
            )
        label = {code: i for i, code in enumerate(kept)}
        only = {"train": train}
        wanted = {
            split: _listed(root, self._boxes(root, folder), folder, label, only.get(split))
            for split, folder in official.items()
        }
        report: dict[str, Any] = {}
        for split, read in read_splits(ctx, partial(_row, root), wanted, 64).items():
            rows = [row for row, _ in read]
            write_index(ctx.work / split, [names[c] for c in kept], rows)
            report[split] = {
                "images": len(rows),
                "classes": len(kept),
                "objects": sum(len(r.annotations) for r in rows),
                "clipped": 0,
                "dropped": sum(dropped for _, dropped in read),
                "remarks": [],
            }
            note_repairs(ctx, f"{self.name} {split}", report[split])
        write_json(ctx.work / "report.json", report)

    def open_split(self, index: Path, root: Path, split: str) -> ImageSet:
        return IndexedImages(self.name, split, index, root)


def _class_names(file: Path) -> dict[str, str]:
    with open(file, newline="", encoding="utf-8") as lines:
        rows = [row for row in csv.reader(lines) if len(row) == 2 and row[0] != "LabelName"]
    if not rows:
        raise BadData(f"{file} has no lines LABEL,NAME; download it again")
    return dict(rows)


def read_boxes(file: Path) -> Iterator[tuple[str, ...]]:
    """The columns `COLUMNS` of a box CSV, line by line."""
    with open(file, newline="", encoding="utf-8") as lines:
        reader = csv.reader(lines)
        head = next(reader, [])
        try:
            at = [head.index(name) for name in COLUMNS]
        except ValueError as error:
            raise BadData(f"{file} has no such column: {error}; download it again") from None
        for number, row in enumerate(reader, 2):
            if len(row) < len(head):
                raise BadData(f"{file} line {number} is cut off; download it again")
            yield tuple(row[i] for i in at)


def choose(
    file: Path, names: dict[str, str], min_images: int, min_classes: int
) -> tuple[set[str], list[str]]:
    """Images and classes of the subset: drop classes with fewer than `min_images` images and
    images with fewer than `min_classes` classes, in turn, until nothing changes. Classes come in
    the order of `names`."""
    codes = {code: i for i, code in enumerate(names)}
    images: dict[str, int] = {}
    pairs = array("q")
    for row in read_boxes(file):
        if row[1] not in codes:
            raise BadData(
                f"{file} has class {row[1]!r}, which class-descriptions-boxable.csv lacks"
            )
        pairs.append(images.setdefault(row[0], len(images)) * len(codes) + codes[row[1]])
    shown = np.unique(np.frombuffer(pairs, np.int64)) if len(pairs) else np.zeros(0, np.int64)
    while True:
        image, code = np.divmod(shown, len(codes))
        many = np.bincount(image, minlength=len(images))[image] >= min_classes
        left = shown[many]
        frequent = np.bincount(left % len(codes), minlength=len(codes)) >= max(min_images, 1)
        left = left[frequent[left % len(codes)]]
        if len(left) == len(shown):
            break
        shown = left
    kept_images, kept = set(np.unique(image).tolist()), set(np.unique(code).tolist())
    return {n for n, i in images.items() if i in kept_images}, [
        c for c, i in codes.items() if i in kept
    ]


def image_id(name: str) -> int:
    """The 16 hex digits of an image as a signed 64-bit number."""
    number = int(name, 16)
    return number - (1 << 64) if number >= 1 << 63 else number


Boxes = list[tuple[Any, ...]]  # line, label, XMin, XMax, YMin, YMax, IsGroupOf


def _listed(
    root: Path, file: Path, folder: str, label: dict[str, int], only: set[str] | None
) -> list[tuple[Listed, Boxes]]:
    """The images of a box CSV (or those in `only`) and their boxes of the classes in `label`;
    BadData where one has no file."""
    boxes: dict[str, Boxes] = defaultdict(list)
    findings = Findings()
    for number, row in enumerate(read_boxes(file), 1):
        if row[1] in label and (only is None or row[0] in only):
            sides = _read_sides(file, number + 1, row[2:6], findings)
            boxes[row[0]].append((number, label[row[1]], *sides, row[6] == "1"))
    findings.refuse()
    names = {image: f"{folder}/{image}.jpg" for image in boxes}
    require(list(names.values()), root, list_files(root, [folder]))
    return [(Listed(image_id(image), names[image], -1), mine) for image, mine in boxes.items()]


def _read_sides(
    file: Path, line: int, texts: tuple[str, ...], findings: Findings
) -> tuple[float, ...]:
    """XMin, XMax, YMin, YMax as shares of the image; a finding where they are not."""
    try:
        x1, x2, y1, y2 = map(float, texts)
    except ValueError:
        x1 = x2 = y1 = y2 = float("nan")
    where = f"{file} line {line}: XMin, XMax, YMin, YMax are {', '.join(texts)[:60]}"
    if not all(-SLACK <= v <= 1 + SLACK for v in (x1, x2, y1, y2)):
        findings.add("sides are not in 0..1", f"{where}, not shares of the image in 0..1")
    elif x1 > x2 or y1 > y2:
        findings.add("sides are exchanged", f"{where}: a minimum is larger than its maximum")
    return x1, x2, y1, y2


def _row(root: Path, wanted: tuple[Listed, Boxes]) -> tuple[Row, int] | str:
    """The row of an image, and how many of its boxes are empty and were dropped."""
    row = check_row(root, wanted[0])
    if isinstance(row, str):
        return row
    annotations = _annotations(wanted[1], *row.size)
    dropped = len(wanted[1]) - len(annotations)
    return replace(row, label=None, annotations=annotations), dropped


def _annotations(boxes: list[tuple[Any, ...]], width: int, height: int) -> list[dict[str, Any]]:
    annotations = []
    for number, label, x1, x2, y1, y2, group in boxes:
        box = np.clip(
            [x1 * width, y1 * height, x2 * width, y2 * height], 0, [width, height, width, height]
        )
        if (box[2:] - box[:2] >= 0.01).all():
            annotations.append(
                {
                    "box": box.tolist(),
                    "label": label,
                    "crowd": group,
                    "difficult": False,
                    "id": number,
                    "area": float((box[2] - box[0]) * (box[3] - box[1])),
                    "segmentation": None,
                    "keypoints": None,
                }
            )
    return annotations
