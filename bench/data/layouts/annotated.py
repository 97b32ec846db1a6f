"""People's own sets with a file of annotations for each image: the stage, the index, the report.

A subclass finds the images of each split and reads an annotation file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from bench.contracts.context import StageContext
from bench.contracts.data import Data
from bench.contracts.images import ImageSet
from bench.core.errors import BadData
from bench.core.files import write_json
from bench.core.params import Runtime, digest
from bench.core.stage import Stage
from bench.data.files import Listing, check_once, contents_hash
from bench.data.findings import Findings, find_repeated
from bench.data.index import IndexedImages, Row, write_index
from bench.data.layouts.own import folder_of, no_split
from bench.data.plausible import describe_rows
from bench.data.runner import note_repairs, read_splits


@dataclass(frozen=True)
class Member:
    """An image of a split and its annotations, both relative to the root; annotation: "" where the
    image has none, and so no objects."""

    id: int
    image: str
    annotation: str


@dataclass(frozen=True)
class Contents:
    """What a folder lists. listing: the files of `members`. names: the classes of each split by
    number, where a list says them. forms: how annotations of a split are read, where a set has
    several ways. remarks: by split, what is odd."""

    members: dict[str, list[Member]]
    listing: Listing
    names: dict[str, list[str]] = field(default_factory=dict)
    forms: dict[str, str] = field(default_factory=dict)
    remarks: dict[str, list[str]] = field(default_factory=dict)


Counts = Mapping[str, int]
ReadRow = Callable[[Member], tuple[Row, Counts] | str]


class AnnotatedSet(Data):
    """Images with an annotation file each. Boxes are cut to their image; those that are then
    narrower or lower than 0.01 pixel are dropped and counted. The ids of images are of their names
    (`own.image_ids`)."""

    looks_like: str  # what the folder holds, for an error

    @classmethod
    def annotations(cls) -> frozenset[str]:
        return frozenset({"objects"})

    @classmethod
    def default_place(cls) -> Path | None:
        return None

    def contents(self, root: Path, findings: Findings) -> Contents:
        """The images of each split that is there, train first. No annotation is read. Faults of
        lists go to `findings`; BadData where the layout is another one."""
        raise NotImplementedError

    def shown(
        self, root: Path, split: str, contents: Contents, findings: Findings
    ) -> dict[str, str]:
        """The classes that objects of a split have, each with the first file that has one; every
        annotation is read, and its faults go to `findings`."""
        raise NotImplementedError

    def join_classes(
        self, contents: Contents, shown: Mapping[str, Mapping[str, str]], findings: Findings
    ) -> list[str]:
        """The class list of all splits. shown: for each split, the classes that its objects have,
        with the first file that has one. What is odd about them goes to the remarks."""
        raise NotImplementedError

    def row_reader(
        self, root: Path, split: str, contents: Contents, classes: list[str]
    ) -> ReadRow:
        """What reads an image of a split, in another process too."""
        raise NotImplementedError

    def describe(self, root: Path, split: str, counts: Counts) -> list[str]:
        """Further remarks on what was read."""
        return []

    def stage(self, root: Path | None, runtime: Runtime) -> Stage:
        place = folder_of(self.place(root), self.name, self.looks_like)
        cache = runtime.home / "cache"
        contents = self._list(place)
        files = sorted({m.annotation for ms in contents.members.values() for m in ms} - {""})
        images = {
            split: [[m.image, contents.listing[m.image].st_size] for m in members]
            for split, members in contents.members.items()
        }
        content = contents_hash(place, files, contents.listing, cache)
        mark = digest([contents.names, contents.forms, images, content])
        check_once(f"1{mark}", cache, partial(self._read_classes, place, contents))
        return self.make_stage(place, runtime, fingerprint=mark)

    def run(self, ctx: StageContext) -> None:
        root = ctx.runtime.roots[ctx.stage.key]
        contents = self._list(root)
        classes = self._read_classes(root, contents)
        readers = {s: self.row_reader(root, s, contents, classes) for s in contents.members}
        items = {s: [(s, m) for m in members] for s, members in contents.members.items()}
        checked = read_splits(ctx, partial(_read_row, readers), items, 16)
        repeated = find_repeated({s: [row for row, _ in read] for s, read in checked.items()})
        report: dict[str, Any] = {}
        for split, read in checked.items():
            rows = [row for row, _ in read]
            write_index(ctx.work / split, classes, rows)
            counts = Counter[str]()
            for _, more in read:
                counts.update(more)
            if counts["unmasked"] == counts["objects"]:  # a set without masks
                counts["unmasked"] = 0
            odd = [*contents.remarks.get(split, []), *describe_rows(rows)]
            odd += self.describe(root, split, counts)
            report[split] = {**counts, "remarks": odd + repeated[split]}
            note_repairs(ctx, f"{self.name} {split}", report[split])
        write_json(ctx.work / "report.json", report)

    def open_split(self, index: Path, root: Path, split: str) -> ImageSet:
        return IndexedImages(self.name, split, index, root)

    def load(self, folder: Path, root: Path, split: str) -> ImageSet:
        if split in self.splits and not (folder / split).is_dir():
            raise no_split(self.name, root, split)
        return super().load(folder, root, split)

    def _list(self, root: Path) -> Contents:
        findings = Findings()
        contents = self.contents(root, findings)
        findings.refuse()
        for split, members in contents.members.items():
            if not members:
                raise BadData(f"{self.name} split {split} is empty: no image of it in {root}")
        return contents

    def _read_classes(self, root: Path, contents: Contents) -> list[str]:
        """The class list; BadData with all faults of all annotations."""
        findings = Findings()
        shown = {split: self.shown(root, split, contents, findings) for split in contents.members}
        classes = self.join_classes(contents, shown, findings)
        findings.refuse()
        return classes


def _read_row(
    readers: Mapping[str, ReadRow], item: tuple[str, Member]
) -> tuple[Row, Counts] | str:
    return readers[item[0]](item[1])
