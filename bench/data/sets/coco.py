"""COCO 2017 in its official layout: boxes, masks, crowds, keypoints."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import Any

from bench.contracts.context import StageContext
from bench.contracts.data import Data, HowToGet, WriteSample
from bench.contracts.images import ImageSet
from bench.core.errors import BadData
from bench.core.files import write_json
from bench.core.image import check_image
from bench.core.params import Runtime
from bench.core.stage import Stage
from bench.data.files import check_once, fingerprint
from bench.data.findings import Findings, find_repeated
from bench.data.index import IndexedImages, Row
from bench.data.layouts.coco_file import CocoFile, CocoImage, CocoObject, load_coco
from bench.data.layouts.coco_index import index_coco
from bench.data.layouts.coco_join import (
    Skeleton,
    check_boxes,
    describe_boxes,
    describe_texts,
    find_skeleton,
    join_classes,
    join_keypoints,
)
from bench.data.runner import note_repairs, read_splits

FOLDERS = {"train": "train2017", "val": "val2017"}
KEYPOINTS = (
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
)


class Coco(Data):
    """COCO 2017 (Lin et al. 2014): `train2017/`, `val2017/`, `annotations/instances_*.json`.

    Splits: train (118,287 images) and val (5,000). Labels are contiguous, 0..79, in ascending
    category id of train; val's categories are joined by name. Keypoints come from
    `person_keypoints_*.json`, joined by image, category and box, and are named as its categories
    name them. Repairs, counted in `report.json`: boxes are clipped to the image, annotations whose
    box is then narrower or lower than 0.01 pixel are dropped (official train2017 has some of zero
    height).
    """

    # 2: classes of the splits are joined by name, keypoints by image and box; types are checked
    version = 2
    how_to_get = HowToGet(
        files={"train2017.zip": 18_000, "val2017.zip": 1000, "annotations_trainval2017.zip": 241},
        site="cocodataset.org",
        layout="unpacked into one folder: train2017/, val2017/, annotations/",
    )
    official = {"train": 118_287, "val": 5000}
    scored_as_written = True

    @classmethod
    def annotations(cls) -> frozenset[str]:
        return frozenset({"objects", "masks", "keypoints"})

    @classmethod
    def sample(cls) -> WriteSample:
        from bench.data.scenes.boxes import write_coco

        return write_coco

    def stage(self, root: Path | None, runtime: Runtime) -> Stage:
        root = self.place(root)
        if not root.is_dir():
            raise BadData(
                f"no COCO folder at {root}; get {self.how_to_get}; then: --data coco=PATH"
            )
        splits = self._splits(root)
        files = [_annotations(root, split) for split in splits]
        points = [_persons(root, split) for split in splits]
        listings = [root / FOLDERS[split] for split in splits]
        mark = fingerprint(
            [*files, *(p for p in points if p.is_file())], listings, runtime.home / "cache"
        )
        check_once(f"2{mark}", runtime.home / "cache", partial(_check, root, splits))
        return self.make_stage(root, runtime, fingerprint=mark)

    def _splits(self, root: Path) -> list[str]:
        """The splits that are there, train must be;
        each has its image folder and its annotations."""
        splits = [s for s in FOLDERS if s == "train" or (root / FOLDERS[s]).is_dir()]
        for split in splits:
            name, file = FOLDERS[split], _annotations(root, split)
            if not (root / name).is_dir():
                raise BadData(
                    f"COCO at {root} has no folder {name}/; get {self.how_to_get}; "
                    "then: --data coco=PATH"
                )
            if not file.is_file():
                raise BadData(f"COCO {split} annotations are missing: {file}; download them again")
        return splits

    def run(self, ctx: StageContext) -> None:
        root = ctx.runtime.roots[ctx.stage.key]
        contents = _read(root, self._splits(root))
        images = {
            s: [(root / FOLDERS[s], i) for i in file.images] for s, file in contents.files.items()
        }
        findings = Findings()
        rows: dict[str, list[Row]] = {}
        try:
            rows = read_splits(ctx, _decode, images, 16)
        except BadData as error:
            findings.add_images(error.findings)
        report: dict[str, Any] = {}
        names = contents.skeleton.names if contents.skeleton else None
        for split, file in contents.files.items():
            counts = index_coco(ctx.work / split, file, contents.classes, findings, names)
            report[split] = {**counts, "remarks": contents.remarks[split]}
        findings.refuse()
        for split, lines in find_repeated(rows).items():
            report[split]["remarks"] += lines
            note_repairs(ctx, f"coco {split}", report[split])
        write_json(ctx.work / "report.json", report)

    def open_split(self, index: Path, root: Path, split: str) -> ImageSet:
        return IndexedImages(self.name, split, index, root / FOLDERS[split], KEYPOINTS)

    def read_annotations(self, root: Path, split: str, classes: Sequence[str]) -> dict[str, Any]:
        findings = Findings()
        file, persons = _read_split(root, split, findings)
        findings.refuse()
        if persons is not None:
            join_keypoints(file, persons, findings)
            findings.refuse()
        label = {c.id: classes.index(c.name) + 1 for c in file.categories if c.name in classes}
        names = ("id", "width", "height", "file_name")
        return {
            "images": [
                dict(zip(names, (i.id, *i.size, i.file), strict=True)) for i in file.images
            ],
            "annotations": [
                _written(item, label[item.category], number)
                for number, item in enumerate(file.objects, 1)
            ],
            "categories": [{"id": i, "name": name} for i, name in enumerate(classes, 1)],
            "info": {},
        }


def _check(root: Path, splits: list[str]) -> None:
    _read(root, splits)


@dataclass(frozen=True)
class _Contents:
    """All splits, checked. classes: of all of them. remarks: by split, what is odd."""

    files: dict[str, CocoFile]
    classes: list[str]
    skeleton: Skeleton | None
    remarks: dict[str, list[str]]


def _read(root: Path, splits: list[str]) -> _Contents:
    """Everything that the annotations say, checked against itself and the files that are there;
    BadData with all findings. Done once per fingerprint when a run is planned: official train
    annotations take long to parse."""
    findings = Findings()
    files, persons, remarks = {}, {}, {}
    for split in splits:
        files[split], points = _read_split(root, split, findings)
        if points is not None:
            persons[split] = points
        if not files[split].images and not findings:
            raise BadData(f"COCO split {split} is empty: no images in {files[split].name}")
        _check_files(root / FOLDERS[split], files[split], findings)
    findings.refuse()
    for split, file in files.items():
        remarks[split] = describe_texts(file)
        if split in persons:
            moved = join_keypoints(file, persons[split], findings)
            if moved:
                remarks[split].append(
                    f"{moved:,} keypoint annotations have other ids than their objects and were "
                    "joined by image, category and box"
                )
        check_boxes(file, findings)
        remarks[split] += describe_boxes(file)
    classes = join_classes(files, findings)
    skeleton = find_skeleton(files, persons, KEYPOINTS, findings)
    findings.refuse()
    if skeleton and not skeleton.named:
        for lines in remarks.values():
            lines.append(
                f"no file names the {len(skeleton.names)} keypoints: none of them is taken for "
                "the left or right one of a pair when an image is mirrored"
            )
    return _Contents(files, classes, skeleton, remarks)


def _read_split(root: Path, split: str, findings: Findings) -> tuple[CocoFile, CocoFile | None]:
    """The instances and the keypoints of a split."""
    file = load_coco(_annotations(root, split), f"COCO {split} annotations", findings)
    persons = _persons(root, split)
    return file, load_coco(persons, "COCO keypoints", findings) if persons.is_file() else None


def _written(item: CocoObject, category: int, number: int) -> dict[str, Any]:
    """An annotation as the official tool reads it, under another category and number."""
    record = {
        "id": number,
        "image_id": item.image,
        "category_id": category,
        "bbox": list(item.box),
        "area": item.box[2] * item.box[3] if item.area is None else item.area,
        "iscrowd": int(item.crowd),
        "segmentation": item.segmentation or [],
    }
    if item.keypoints is None:
        return record
    return record | {"keypoints": item.keypoints, "num_keypoints": item.labelled}


def _annotations(root: Path, split: str) -> Path:
    return root / "annotations" / f"instances_{FOLDERS[split]}.json"


def _persons(root: Path, split: str) -> Path:
    return root / "annotations" / f"person_keypoints_{FOLDERS[split]}.json"


def _check_files(folder: Path, file: CocoFile, findings: Findings) -> None:
    """Every image lies in the folder under its name."""
    with os.scandir(folder) as entries:
        there = {e.name for e in entries}
    missing = [i.file for i in file.images if i.file not in there]
    foldered = [n for n in missing if PureWindowsPath(n).name != n]
    if foldered:
        last = PureWindowsPath(foldered[0]).name
        found = f"{last} lies there" if last in there else f"{last} does not lie there either"
        findings.add(
            "file_name holds a folder",
            f"{file.name}: {len(foldered)} of {len(file.images)} file names hold a folder, the "
            f"first is {foldered[0]!r}; a file_name is relative to {folder.name}/, and {found}",
        )
    plain = [n for n in missing if n not in set(foldered)]
    if plain:
        findings.add(
            "an image is missing",
            f"COCO {folder.name}/ lacks {len(plain)} of {len(file.images)} images, the first "
            f"is {plain[0]}; unpack {folder.name}.zip again, or add the files",
        )


def _decode(listed: tuple[Path, CocoImage]) -> Row | str:
    """The row of an image that decodes to the size of its annotations, without its objects;
    or what is wrong, one line."""
    folder, image = listed
    try:
        checked = check_image(folder / image.file)
    except BadData as error:
        return str(error)
    if checked.size != image.size:
        (width, height), (theirs, other) = checked.size, image.size
        why = (
            "width and height are exchanged"
            if (other, theirs) == checked.size
            else ("correct them, or restore the image")
        )
        return (
            f"image {folder / image.file} is {width}x{height} but its annotations say "
            f"{theirs}x{other}; {why}"
        )
    return Row(image.id, image.file, checked.size, mark=checked.mark)
