"""PASCAL VOC, any of its years or several: where the files are, which images a split has, the stage."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

from bench.data._voc_files import CLASSES, Member, image_sets, read_annotation, read_names, read_row
from bench.data.base import Data, ImageSet
from bench.data.index import IndexedImages, Row, write_index
from bench.data.runner import parallel
from bench.engine.context import StageContext
from bench.errors import BadData, BadInput, unknown
from bench.params import Runtime, digest
from bench.stage import Stage
from bench.store import write_json

OFFICIAL = {
    f"{folder}{name}" for folder in ("", "Segmentation/") for name in ("train", "val", "trainval", "test")
}
Listing = dict[str, os.stat_result]  # files by path relative to VOCdevkit


class Voc(Data):
    """PASCAL VOC (Everingham et al. 2010) in its official layout, `VOCdevkit/VOC<year>/`.

    The folder given may be VOCdevkit, the folder that holds it, or VOC<year> in it. Params name the image
    sets of the splits. Subclasses say which `years` they read.
    """

    folder: ClassVar[str] = "VOCdevkit"
    years: ClassVar[tuple[str, ...]]

    def stage(self, root: Path | None, runtime: Runtime) -> Stage:
        root = self._root(root)
        splits, listing = self._splits(root)
        mark = _fingerprint(root, splits, listing, runtime.home / "cache")
        _check_once(root, splits, runtime.home / "cache" / "checked" / mark[:32])
        stage = Stage(
            "data", self.name, self.version, {"params": self.params.identity(), "fingerprint": mark},
            "bench.data.runner:run",
        )  # fmt: skip
        runtime.roots[stage.key] = root
        return stage

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
            raise BadData(f"no {wanted} in {best}; get {self.how_to_get}; then: --data {self.name}=PATH")
        return best

    def _parts(self, split: str) -> list[tuple[str, str]]:
        """(folder of the year, image set) of every image set joined by + in the split's setting."""
        parts = []
        for text in getattr(self.params, split).split("+"):
            year, _, name = (self.years[0], "", text) if len(self.years) == 1 else text.partition("/")
            if year not in self.years:
                raise BadInput(
                    f"{self.name}.{split}: {text!r} starts with none of the years {', '.join(self.years)}; "
                    f"try: --set {self.name}.{split}={self.years[0]}/trainval"
                )
            parts.append((f"VOC{year}", name))
        return parts

    def _splits(self, root: Path) -> tuple[dict[str, list[Member]], Listing]:
        """The members of each split by ascending id, and the files there are. val is left out where its
        official image set is not there (the test images of 2007 are another archive); train must be there.
        BadData if a file of a member is missing; members of Segmentation image sets must have a mask."""
        found = {}
        for split in self.splits:
            members = self._members(root, split)
            if members is not None:
                found[split] = members
        listing: Listing = {}
        for folder in sorted({m.folder for members in found.values() for m in members}):
            for kind in ("JPEGImages", "Annotations", "SegmentationClass"):
                listing |= _files(root, f"{folder}/{kind}")
        for split, members in found.items():
            _complete([m.image for m in members], root, listing)
            _complete([m.annotation for m in members], root, listing)
            _complete([m.mask for m in members if m.masked], root, listing)
            found[split] = [replace(m, masked=m.mask in listing) for m in members]
        return found, listing

    def _members(self, root: Path, split: str) -> list[Member] | None:
        members: list[Member] = []
        for folder, name in self._parts(split):
            file = self._image_set(root / folder, name, split)
            if file is None:
                return None
            names = read_names(file)
            if not names:
                raise BadData(f"{self.name} split {split} is empty: no names in {file}")
            members += [Member(folder, n, masked=name.startswith("Segmentation/")) for n in names]
        members.sort(key=lambda m: m.id)
        for one, other in pairwise(members):
            if one.id == other.id:
                raise BadInput(
                    f"{self.name}.{split}: image {one.name} is in two of its image sets; try: --set "
                    f"{self.name}.{split}=ONE_OF_THEM"
                )
        return members

    def _image_set(self, folder: Path, name: str, split: str) -> Path | None:
        known = image_sets(folder)
        if name in known:
            return known[name]
        if name not in OFFICIAL:
            raise unknown(f"image set of {self.name}.{split}", name, known, f"ls {folder / 'ImageSets'}/Main")
        if split == "val":
            return None
        where = folder / "ImageSets" / (f"{name}.txt" if "/" in name else f"Main/{name}.txt")
        raise BadData(f"image set {where} is missing; get {self.how_to_get}; then: --data {self.name}=PATH")

    def run(self, ctx: StageContext) -> None:
        root = ctx.runtime.roots[ctx.stage.key]
        report: dict[str, dict[str, int]] = {}
        found: dict[str, list[Row]] = {}
        bad: list[str] = []
        for split, members in self._splits(root)[0].items():
            found[split], report[split] = _read_all(ctx, root, split, members, bad)
        if bad:
            raise BadData.of(bad)
        for split, rows in found.items():
            write_index(ctx.work / split, list(CLASSES), rows)
            clipped, dropped = report[split]["clipped"], report[split]["dropped"]
            if clipped + dropped:
                ctx.progress.note(
                    f"{self.name} {split}: {clipped} boxes clipped to their image, {dropped} empty ones "
                    "dropped"
                )
        write_json(ctx.work / "report.json", report)

    def load(self, folder: Path, root: Path, split: str) -> ImageSet:
        if split not in self.splits:
            raise BadData(f"{self.name} has the splits train and val, not {split!r}")
        if not (folder / split).is_dir():
            raise BadData(
                f"{root} has no image set {getattr(self.params, split)!r}, the {split} of {self.name}; get "
                f"{self.how_to_get}"
            )
        return IndexedImages(self.name, split, folder / split, root)


def _files(root: Path, folder: str) -> Listing:
    try:
        with os.scandir(root / folder) as entries:
            return {f"{folder}/{e.name}": e.stat() for e in entries if e.is_file()}
    except OSError:
        return {}


def _complete(wanted: list[str], root: Path, listing: Listing) -> None:
    missing = [name for name in wanted if name not in listing]
    if missing:
        folder, _, first = missing[0].rpartition("/")
        raise BadData(
            f"{root / folder} lacks {len(missing)} of {len(wanted)} files, the first is {first}; unpack the "
            f"{folder.partition('/')[0]} archives again"
        )


def _fingerprint(root: Path, splits: dict[str, list[Member]], listing: Listing, cache: Path) -> str:
    """sha256 over the images of each split with their sizes in bytes, and the content of their annotations
    and masks. Image sets that no split names, and files that none lists, have no influence."""
    parts = {
        split: [[m.image, listing[m.image].st_size] for m in members] for split, members in splits.items()
    }
    members = [m for each in splits.values() for m in each]
    content = {m.annotation for m in members} | {m.mask for m in members if m.masked}
    return digest([parts, _content_hash(root, sorted(content), listing, cache)])


def _content_hash(root: Path, files: list[str], listing: Listing, cache: Path) -> str:
    """One hash of many small files, remembered under `cache` by their names, sizes and times."""
    known = [[f, listing[f].st_size, listing[f].st_mtime_ns] for f in files]
    marker = cache / "hashes" / (digest([str(root), known])[:32] + ".json")
    with suppress(OSError, ValueError):
        return str(json.loads(marker.read_text()))
    found = digest([[file, hashlib.sha256((root / file).read_bytes()).hexdigest()] for file in files])
    with suppress(OSError):
        marker.parent.mkdir(parents=True, exist_ok=True)
        partly = marker.with_suffix(f".{os.getpid()}")
        partly.write_text(json.dumps(found))
        partly.replace(marker)
    return found


def _check_once(root: Path, splits: dict[str, list[Member]], marker: Path) -> None:
    """Every annotation is parsed, once per fingerprint, so that a plan fails rather than a run."""
    if marker.is_file():
        return
    for member in {m for members in splits.values() for m in members}:
        read_annotation(root / member.annotation)
    with suppress(OSError):  # a read-only home only costs the check again
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()


def _read_all(
    ctx: StageContext, root: Path, split: str, members: list[Member], bad: list[str]
) -> tuple[list[Row], dict[str, int]]:
    """Rows and summed counts of the images that are whole; what is wrong with the others goes to `bad`."""
    advance = ctx.progress.task(f"check {split}", len(members))
    rows, counts = [], Counter[str]()
    for found in parallel(partial(read_row, root), members, ctx.runtime.workers, 16):
        advance(1)
        if isinstance(found, str):
            bad.append(found)
        else:
            rows.append(found[0])
            counts.update(found[1])
    return rows, {name: int(n) for name, n in counts.items()}
