"""Sets that are COCO files: the stage, the index, the annotations as they are written.

A subclass says where the files of each split are (`parts`) and how file names are meant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from bench.contracts.context import StageContext
from bench.contracts.data import Data
from bench.contracts.images import ImageSet
from bench.core.errors import BadData
from bench.core.files import write_json
from bench.core.image import check_image
from bench.core.params import Runtime
from bench.core.stage import Stage
from bench.data.files import check_once
from bench.data.findings import Findings, find_repeated
from bench.data.index import IndexedImages, Row
from bench.data.layouts.coco_file import CocoFile, CocoImage, CocoObject, load_coco, load_names
from bench.data.layouts.coco_index import index_coco
from bench.data.layouts.coco_join import (
    Skeleton,
    check_boxes,
    describe_objects,
    describe_texts,
    find_skeleton,
    join_classes,
    join_keypoints,
)
from bench.data.layouts.coco_masks import plain
from bench.data.runner import note_repairs, read_splits

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


@dataclass(frozen=True)
class CocoPart:
    """The files of a split. images: the folder its file names are relative to; None where it is
    found by these names. persons: a file with the keypoints of the same objects, where there is
    one."""

    split: str
    annotations: Path
    images: Path | None
    persons: Path | None = None


@dataclass(frozen=True)
class _Contents:
    """All splits, checked. classes: of all of them. remarks: by split, what is odd."""

    files: dict[str, CocoFile]
    classes: list[str]
    skeleton: Skeleton | None
    remarks: dict[str, list[str]]


# What a plan has just read of a set, by name, folder and fingerprint: the stage of the index in
# the same process takes it, so that large annotations are parsed once.
_KEPT: dict[tuple[str, str, str], _Contents] = {}


class CocoSet(Data):
    """Boxes, masks, crowds and keypoints from COCO files, one for each split.

    Labels are contiguous, in ascending category id of train; val's categories are joined by name.
    Keypoints of a file of their own are joined by image, category and box. Repairs, counted in
    `report.json`: boxes are clipped to the image, annotations whose box is then narrower or lower
    than 0.01 pixel are dropped.
    """

    scored_as_written = True
    restore = "download them again"  # what to do where a file cannot be read

    @classmethod
    def annotations(cls) -> frozenset[str]:
        return frozenset({"objects", "masks", "keypoints"})

    def root(self, given: Path | None) -> Path:
        """The folder of the set; BadData where it does not exist."""
        raise NotImplementedError

    def parts(self, root: Path) -> list[CocoPart]:
        """The splits that are there, train first; BadData where a file of theirs is missing."""
        raise NotImplementedError

    def mark(self, root: Path, parts: list[CocoPart], cache: Path) -> str:
        """The fingerprint of what the splits hold."""
        raise NotImplementedError

    def place_images(self, root: Path, part: CocoPart, file: CocoFile, findings: Findings) -> None:
        """Check that every image of the file is there. Names may become relative to another
        folder, which is then that of `image_base`."""
        raise NotImplementedError

    def image_base(self, root: Path, split: str) -> Path:
        """The folder that file names of the index are relative to."""
        raise NotImplementedError

    def stage(self, root: Path | None, runtime: Runtime) -> Stage:
        place, cache = self.root(root), runtime.home / "cache"
        parts = self.parts(place)
        mark = self.mark(place, parts, cache)
        check_once(f"2{mark}", cache, partial(self._read_for, mark, place, parts))
        return self.make_stage(place, runtime, fingerprint=mark)

    def _read_for(self, mark: str, root: Path, parts: list[CocoPart]) -> None:
        """Read what the fingerprint is of, and keep it for the stage that comes next."""
        _KEPT.clear()
        _KEPT[self.name, str(root), mark] = self._read(root, parts)

    def run(self, ctx: StageContext) -> None:
        root = ctx.runtime.roots[ctx.stage.key]
        kept = _KEPT.pop((self.name, str(root), str(ctx.params["fingerprint"])), None)
        contents = kept or self._read(root, self.parts(root))
        images = {
            split: [(self.image_base(root, split), image) for image in file.images]
            for split, file in contents.files.items()
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
            remarks = [*contents.remarks[split], *counts["remarks"]]
            report[split] = {**counts, "remarks": remarks}
        findings.refuse()
        for split, lines in find_repeated(rows).items():
            report[split]["remarks"] += lines
            note_repairs(ctx, f"{self.name} {split}", report[split])
        write_json(ctx.work / "report.json", report)

    def open_split(self, index: Path, root: Path, split: str) -> ImageSet:
        return IndexedImages(self.name, split, index, self.image_base(root, split), KEYPOINTS)

    def read_annotations(self, root: Path, split: str, classes: Sequence[str]) -> dict[str, Any]:
        findings = Findings()
        part = next(part for part in self.parts(root) if part.split == split)
        file, persons = self._read_part(part, findings)
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

    def _read(self, root: Path, parts: list[CocoPart]) -> _Contents:
        """Everything that the annotations say, checked against itself and the files that are
        there; BadData with all findings. Done once per fingerprint when a run is planned: official
        train annotations take long to parse."""
        findings = Findings()
        files, persons, remarks = {}, {}, {}
        for part in parts:
            file, points = self._read_part(part, findings)
            files[part.split] = file
            if points is not None:
                persons[part.split] = points
            if not file.images and not findings:
                raise BadData(f"COCO split {part.split} is empty: no images in {file.name}")
            self.place_images(root, part, file, findings)
        findings.refuse()
        for split, file in files.items():
            remarks[split] = _join_persons(file, persons.get(split), findings)
            check_boxes(file, findings)
            remarks[split] += describe_objects(file)
        classes = join_classes(files, findings)
        skeleton = find_skeleton(files, persons, KEYPOINTS, findings)
        findings.refuse()
        if skeleton and not skeleton.named:
            for lines in remarks.values():
                lines.append(
                    f"no file names the {len(skeleton.names)} keypoints: none of them is taken "
                    "for the left or right one of a pair when an image is mirrored"
                )
        return _Contents(files, classes, skeleton, remarks)

    def _read_part(self, part: CocoPart, findings: Findings) -> tuple[CocoFile, CocoFile | None]:
        """The instances and the keypoints of a split."""
        what = f"COCO {part.split} annotations"
        file = load_coco(part.annotations, what, findings, self.restore)
        if part.persons is None:
            return file, None
        return file, load_coco(part.persons, "COCO keypoints", findings, self.restore)

    def _read_names(self, part: CocoPart) -> list[str]:
        """The file names of a split's images as they are written."""
        return load_names(part.annotations, f"COCO {part.split} annotations", self.restore)


def _join_persons(file: CocoFile, persons: CocoFile | None, findings: Findings) -> list[str]:
    """Give the objects their keypoints; remarks on this and on numbers."""
    remarks = describe_texts(file)
    moved = join_keypoints(file, persons, findings) if persons is not None else 0
    if moved:
        remarks.append(
            f"{moved:,} keypoint annotations have other ids than their objects and were joined by "
            "image, category and box"
        )
    return remarks


def _written(item: CocoObject, category: int, number: int) -> dict[str, Any]:
    """An annotation as the official tool reads it, under another category and number."""
    record = {
        "id": number,
        "image_id": item.image,
        "category_id": category,
        "bbox": list(item.box),
        "area": item.box[2] * item.box[3] if item.area is None else item.area,
        "iscrowd": int(item.crowd),
        "segmentation": plain(item.segmentation) or [],
    }
    if item.keypoints is None:
        return record
    return record | {"keypoints": item.keypoints, "num_keypoints": item.labelled}


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
