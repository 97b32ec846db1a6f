"""PASCAL VOC, any of its years or several: where the files are,
which images a split has, the stage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from bench.contracts.context import StageContext
from bench.contracts.images import ImageSet
from bench.core.errors import BadData, BadInput, unknown
from bench.core.files import write_json
from bench.core.params import Runtime, digest
from bench.core.stage import Stage
from bench.data.files import Listing, check_once, contents_hash, list_files
from bench.data.findings import Findings, find_repeated
from bench.data.index import IndexedImages, write_index
from bench.data.layouts.parts import PartedSet, sizes
from bench.data.layouts.recognise import suggest
from bench.data.layouts.voc_files import Member, image_sets, read_names, read_row
from bench.data.layouts.voc_xml import CLASSES, read_annotation
from bench.data.plausible import describe_rows
from bench.data.runner import note_repairs, read_splits

OFFICIAL = {
    f"{folder}{name}"
    for folder in ("", "Segmentation/")
    for name in ("train", "val", "trainval", "test")
}


class Voc(PartedSet[Member]):
    """PASCAL VOC (Everingham et al. 2010) in its official layout, `VOCdevkit/VOC<year>/`.

    The folder given may be VOCdevkit, the folder that holds it, or VOC<year> in it. Params name
    the image sets of the splits. Subclasses say which `years` they read.
    """

    folder: str = "VOCdevkit"
    years: tuple[str, ...]
    list_noun: str = "image set"

    @classmethod
    def annotations(cls) -> frozenset[str]:
        return frozenset({"objects", "semantic"})

    def stage(self, root: Path | None, runtime: Runtime) -> Stage:
        root = self._root(root)
        splits, listing = self._masked(root)
        cache = runtime.home / "cache"
        mark = _fingerprint(root, splits, listing, cache)
        files = {root / m.annotation for members in splits.values() for m in members}
        check_once(mark, cache, partial(_parse_all, files))
        return self.make_stage(root, runtime, fingerprint=mark)

    def _root(self, given: Path | None) -> Path:
        """VOCdevkit, from what was given."""
        place = self.place(given)
        choices = [place, place / self.folder]
        if place.is_dir() and place.name.startswith("VOC2"):
            choices.append(place.parent)
        lacks = {c: [y for y in self.years if not (c / f"VOC{y}").is_dir()] for c in choices}
        best = min(choices, key=lambda c: len(lacks[c]))
        if lacks[best]:
            wanted = " and ".join(f"VOC{year}/" for year in lacks[best])
            some = len(lacks[best]) < len(self.years)  # a download is what helps then
            raise BadData(
                f"no {wanted} in {best}; {self._say_what_to_do(None if some else place)}"
            )
        return best

    def part(self, root: Path, split: str, part: str) -> list[Member] | None:
        year, _, name = (self.years[0], "", part) if len(self.years) == 1 else part.partition("/")
        if year not in self.years:
            raise BadInput(
                f"{self.name}.{split}: {part!r} starts with none of the years "
                f"{', '.join(self.years)}; "
                f"try: --set {self.name}.{split}={self.years[0]}/trainval"
            )
        known = image_sets(root / f"VOC{year}")
        if name in known:
            masked = name.startswith("Segmentation/")
            return [Member(f"VOC{year}", n, masked) for n in read_names(known[name])]
        if name not in OFFICIAL:
            where = root / f"VOC{year}" / "ImageSets"
            raise unknown(f"image set of {self.name}.{split}", name, known, f"ls {where}/Main")
        return None

    def _say_what_to_do(self, place: Path | None) -> str:
        """How to read what lies there by another set, or how to get this one."""
        get = f"get {self.how_to_get}; then: --data {self.name}=PATH"
        return (place and suggest(place, self.name)) or get

    def _absent(self, root: Path, split: str, part: str) -> BadData:
        if split != "train" or any(image_sets(root / f"VOC{year}") for year in self.years):
            return super()._absent(root, split, part)  # lists are missing, images are not
        years = " and ".join(f"VOC{year}/ImageSets" for year in self.years)
        return BadData(
            f"{years} in {root} has no list, such as {part}; {self._say_what_to_do(root)}"
        )

    def _masked(self, root: Path) -> tuple[dict[str, list[Member]], Listing]:
        """`_splits`; images of other image sets than Segmentation's have
        the mask that lies there."""
        splits, listing = self._splits(root)
        folders = {m.folder for members in splits.values() for m in members}
        listing |= list_files(root, (f"{folder}/SegmentationClass" for folder in folders))
        for split, members in splits.items():
            splits[split] = [replace(m, masked=m.mask in listing) for m in members]
        return splits, listing

    def run(self, ctx: StageContext) -> None:
        root = ctx.runtime.roots[ctx.stage.key]
        report: dict[str, Any] = {}
        checked = read_splits(ctx, partial(read_row, root), self._masked(root)[0], 16)
        repeated = find_repeated({s: [row for row, _ in read] for s, read in checked.items()})
        for split, read in checked.items():
            rows = [row for row, _ in read]
            write_index(ctx.work / split, list(CLASSES), rows)
            counts = Counter[str]()
            for _, more in read:
                counts.update(more)
            report[split] = {name: int(n) for name, n in counts.items()}
            report[split]["remarks"] = describe_rows(rows) + repeated[split]
            note_repairs(ctx, f"{self.name} {split}", report[split])
        write_json(ctx.work / "report.json", report)

    def open_split(self, index: Path, root: Path, split: str) -> ImageSet:
        return IndexedImages(self.name, split, index, root)


def _parse_all(annotations: Iterable[Path]) -> None:
    """Parse every annotation, so that a plan fails rather than a run; BadData with all faults."""
    findings = Findings()
    for file in sorted(annotations):
        try:
            read_annotation(file)
        except BadData as error:
            for line in error.findings or (str(error),):
                findings.add("an annotation is damaged", line)
    findings.refuse()


def _fingerprint(
    root: Path, splits: dict[str, list[Member]], listing: Listing, cache: Path
) -> str:
    """sha256 over the images of each split with their sizes in bytes,
    and the content of their annotations and masks. Image sets that no split names,
    and files that none lists, have no influence."""
    members = [m for each in splits.values() for m in each]
    content = {m.annotation for m in members} | {m.mask for m in members if m.masked}
    return digest([sizes(splits, listing), contents_hash(root, sorted(content), listing, cache)])
