"""A lab's own boxes in PASCAL VOC's XML: any classes, any year's folder or none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Literal

from bench.contracts.data import HowToGet, WriteSample
from bench.core.errors import BadData, nearest
from bench.core.params import Params, param
from bench.data.divide import Lists, Parts
from bench.data.files import list_files
from bench.data.findings import Findings
from bench.data.index import Row
from bench.data.layouts.annotated import AnnotatedSet, Contents, Counts, Member, ReadRow
from bench.data.layouts.own import image_ids
from bench.data.layouts.voc_files import add_objects, read_pair
from bench.data.layouts.voc_find import (
    choose_lists,
    describe_left_out,
    find_places,
    list_pairs,
)
from bench.data.layouts.voc_xml import Rules, read_annotation
from bench.data.plausible import describe_clipped

ADVICE = "correct the file"


class VocLayoutParams(Params):
    """Which list is which split, and how pixels are numbered."""

    train: str = param(
        "",
        help="list to train on: its name in ImageSets/, a text file, or a folder of annotations, "
        "several joined by +; empty is the one that is found",
    )
    val: str = param("", help="list to score on, as for train; empty is the one that is found")
    classes: tuple[str, ...] = param(
        (),
        help="class names in their order, separated by commas; other names are then refused. "
        "Without it they are those of all objects of both splits, sorted",
    )
    origin: Literal[0, 1] = param(
        1,
        help="number of the first pixel: VOC counts from 1, and its xmax is the last pixel inside "
        "the box; with 0, corners are the edges of the box",
    )


class VocLayout(AnnotatedSet):
    """One XML file of VOC's form for each image (LabelImg, CVAT, Roboflow, VOC's own): in
    `Annotations/` beside `JPEGImages/` or `images/`, in folders of years or none, or beside the
    images of a folder for each split.

    Without settings, train and val (valid, test) are the folders or the lists in `ImageSets/` of
    these names; a single list is train, and without lists every annotated image is. Where `train`
    is set, val is what is set too, or missing. The classes are the names that objects have in
    train or val, sorted, or those of the setting. An image belongs to the XML file of the same
    name. Corners may be fractions. Masks are not read.
    """

    looks_like = "a folder with annotations in VOC's XML"
    how_to_get = HowToGet(layout="a folder with images and their annotations in VOC's XML")
    Params: type[Params] = VocLayoutParams
    params: VocLayoutParams

    @classmethod
    def sample(cls) -> WriteSample:
        from bench.data.scenes.own import write_voc_layout

        return write_voc_layout

    def contents(self, root: Path, findings: Findings) -> Contents:
        places = find_places(root)
        if self.params.train:
            chosen = {"train": self.params.train, "val": self.params.val}
        else:
            chosen = choose_lists(places)
            chosen |= {"val": self.params.val} if self.params.val else {}
        pairs = {
            split: list_pairs(places, f"{self.name}.{split}", text, findings)
            for split, text in chosen.items()
            if text or split == "train"
        }
        ids = image_ids(xml for each in pairs.values() for xml, _ in each)
        members = {
            split: sorted(
                (Member(ids[xml], image, xml) for xml, image in each), key=lambda m: m.id
            )
            for split, each in pairs.items()
        }
        for split, each in members.items():
            for one, other in pairwise(each):
                if one.id == other.id:
                    findings.add(
                        "an image is listed twice",
                        f"{self.name}.{split}={chosen[split]}: {one.image} is listed twice",
                    )
        files = {f for each in pairs.values() for pair in each for f in pair}
        return Contents(
            members,
            list_files(root, (f.rpartition("/")[0] for f in files)),
            remarks={split: describe_left_out(places, chosen[split]) for split in members},
        )

    def split_names(self, root: Path) -> dict[str, list[str]]:
        return {
            split: [m.annotation.rpartition(".")[0] for m in members]
            for split, members in self._list(root).members.items()
        }

    def write_lists(self, root: Path, folder: str, parts: Parts) -> Lists:
        lists = {f"{s}.txt": "".join(f"{n}\n" for n in names) for s, names in parts.items()}
        return Lists(
            {name: text.encode() for name, text in lists.items()},
            {split: f"{folder}/{split}.txt" for split in parts},
        )

    def shown(
        self, root: Path, split: str, contents: Contents, findings: Findings
    ) -> dict[str, str]:
        names: dict[str, str] = {}
        for member in contents.members[split]:
            file = root / member.annotation
            try:
                described = read_annotation(file, self._rules())
            except BadData as error:
                for line in error.findings or (str(error),):
                    findings.add("an annotation is damaged", line)
                continue
            for name, _, _ in described.objects:
                names.setdefault(name, f"annotation {file}")
        return names

    def join_classes(
        self, contents: Contents, shown: Mapping[str, Mapping[str, str]], findings: Findings
    ) -> list[str]:
        if self.params.classes:
            return list(self.params.classes)
        for name, where in shown.get("val", {}).items():
            if name not in shown["train"]:
                guess = nearest(name, shown["train"])
                hint = f" (is it {guess!r}?)" if guess else ""
                contents.remarks.setdefault("val", []).append(
                    f"class {name!r} is not in train{hint}; the first is in {where}"
                )
        return sorted({name for names in shown.values() for name in names})

    def row_reader(
        self, root: Path, split: str, contents: Contents, classes: list[str]
    ) -> ReadRow:
        return partial(_read_row, root, classes, self._rules())

    def describe(self, root: Path, split: str, counts: Counts) -> list[str]:
        if not counts["at_zero"]:
            rule = "were the annotations made on images of another size?"
            return describe_clipped(counts["clipped"], counts["objects"], rule)
        return [
            f"{counts['at_zero']:,} boxes begin at pixel 0, but VOC counts from 1; where your "
            f"tool counts from 0, say --set {self.name}.origin=0"
        ]

    def _rules(self) -> Rules:
        return Rules(self.params.classes or None, ADVICE, self.params.origin)


def _read_row(
    root: Path, classes: Iterable[str], rules: Rules, member: Member
) -> tuple[Row, Counts] | str:
    """The index row of an image and its counts; or what is wrong, one line."""
    try:
        described, checked = read_pair(root / member.annotation, root / member.image, rules)
    except BadData as error:
        return str(error)
    row = Row(member.id, member.image, checked.size, mark=checked.mark)
    counts = add_objects(row, described, list(classes), rules)
    low = [min(corners[:2]) for _, _, corners in described.objects]
    counts["at_zero"] = sum(-1 < v < 0.5 for v in low) if rules.origin else 0
    return row, counts
