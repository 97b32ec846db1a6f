"""COCO 2017 in its official layout: boxes, masks, crowds, keypoints."""

from __future__ import annotations

import os
from pathlib import Path, PureWindowsPath

from bench.contracts.data import HowToGet, WriteSample
from bench.core.errors import BadData
from bench.data.files import fingerprint
from bench.data.findings import Findings
from bench.data.layouts.coco_file import CocoFile
from bench.data.layouts.coco_set import CocoPart, CocoSet
from bench.data.layouts.own import find_alike
from bench.data.layouts.recognise import suggest

FOLDERS = {"train": "train2017", "val": "val2017"}


class Coco(CocoSet):
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

    @classmethod
    def sample(cls) -> WriteSample:
        from bench.data.scenes.boxes import write_coco

        return write_coco

    def root(self, given: Path | None) -> Path:
        root = self.place(given)
        if not root.is_dir():
            raise BadData(
                f"no COCO folder at {root}; get {self.how_to_get}; then: --data coco=PATH"
            )
        return root

    def parts(self, root: Path) -> list[CocoPart]:
        """The splits that are there, train must be; each has its image folder and its
        annotations."""
        parts = []
        for split, name in FOLDERS.items():
            there = (root / name).is_dir()
            if not there and split != "train":
                continue
            file = root / "annotations" / f"instances_{name}.json"
            if not there:
                get = f"get {self.how_to_get}; then: --data coco=PATH"
                raise BadData(
                    f"COCO at {root} has no folder {name}/; {suggest(root, self.name) or get}"
                )
            if not file.is_file():
                other = suggest(root, self.name) or "download them again"
                raise BadData(f"COCO {split} annotations are missing: {file}; {other}")
            persons = root / "annotations" / f"person_keypoints_{name}.json"
            parts.append(
                CocoPart(split, file, root / name, persons if persons.is_file() else None)
            )
        return parts

    def mark(self, root: Path, parts: list[CocoPart], cache: Path) -> str:
        persons = [part.persons for part in parts if part.persons]
        files = [part.annotations for part in parts]
        return fingerprint(
            [*files, *persons], [part.images for part in parts if part.images], cache
        )

    def image_base(self, root: Path, split: str) -> Path:
        return root / FOLDERS[split]

    def place_images(self, root: Path, part: CocoPart, file: CocoFile, findings: Findings) -> None:
        folder = root / FOLDERS[part.split]
        with os.scandir(folder) as entries:
            there = {e.name for e in entries}
        missing = [i.file for i in file.images if i.file not in there]
        foldered = [n for n in missing if PureWindowsPath(n).name != n]
        if foldered:
            last = PureWindowsPath(foldered[0]).name
            found = f"{last} lies there" if last in there else f"{last} does not lie there either"
            findings.add(
                "file_name holds a folder",
                f"{file.name}: {len(foldered)} of {len(file.images)} file names hold a folder, "
                f"the first is {foldered[0]!r}; a file_name is relative to {folder.name}/, and "
                f"{found}",
            )
        plain = [n for n in missing if n not in set(foldered)]
        if plain:
            other = find_alike(plain[:1], there).get(plain[0])
            cure = (
                f"but {other} lies there; correct the file names"
                if other
                else f"unpack {folder.name}.zip again, or add the files"
            )
            findings.add(
                "an image is missing",
                f"COCO {folder.name}/ lacks {len(plain)} of {len(file.images)} images, the first "
                f"is {plain[0]}; {cure}",
            )
