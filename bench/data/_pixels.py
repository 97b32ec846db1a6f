"""Sets whose annotation is one mask of class indices per image: where the files are, the stage, the masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import numpy as np

from bench.data._voc import Listing, _complete, _content_hash, _files
from bench.data.base import Data, ImageSet, Objects
from bench.data.image import read_rgb
from bench.data.index import IndexedImages, Row, write_index
from bench.data.runner import parallel
from bench.data.semantic import read_classes
from bench.engine.context import StageContext
from bench.errors import BadData, BadInput
from bench.params import Runtime, digest
from bench.stage import Stage
from bench.store import write_json


@dataclass(frozen=True)
class Member:
    """An image of a split and its mask, both relative to the root."""

    id: int
    image: str
    mask: str


def lookup(values: Mapping[int, int]) -> np.ndarray:
    """(256,) int16: what a value in a mask file means (1..K a class, 255 void), -1 where it means nothing."""
    table = np.full(256, -1, np.int16)
    for value, meaning in values.items():
        table[value] = meaning
    return table


class PixelImages(IndexedImages):
    """A split of masks without boxes; `table` (`lookup`) says what the values in its mask files mean."""

    background = False
    table: ClassVar[np.ndarray]

    def semantic(self, index: int) -> np.ndarray | None:
        raw = super().semantic(index)
        return None if raw is None else self.table[raw].astype(np.uint8)

    def objects(self, index: int) -> Objects:
        raise BadData(f"data {self.name!r} has masks but no boxes; try: --data coco=PATH or --data scenes")


class PixelSet(Data):
    """Images with a mask each. Params name the parts of the splits, several joined by +.

    Subclasses find the members. Masks are read as 8-bit values, never as colours; every value must be one
    that `images.table` knows. What no split names has no influence on the key.
    """

    images: ClassVar[type[PixelImages]]
    classes: ClassVar[tuple[str, ...]]
    marks: ClassVar[tuple[str, ...]]  # what the root holds

    def members(self, root: Path, part: str) -> list[Member] | None:
        """The members of one part of a split; None if the part is not there at all."""
        raise NotImplementedError

    def stage(self, root: Path | None, runtime: Runtime) -> Stage:
        root = self._root(root)
        splits = self._splits(root)
        stage = Stage(
            "data", self.name, self.version,
            {"params": self.params.identity(), "fingerprint": _fingerprint(root, splits, runtime)},
            "bench.data.runner:run",
        )  # fmt: skip
        runtime.roots[stage.key] = root
        return stage

    def _root(self, given: Path | None) -> Path:
        place = self.place(given)
        for choice in (place, place / self.folder):
            if all((choice / mark).exists() for mark in self.marks):
                return choice
        lacks = next(mark for mark in self.marks if not (place / mark).exists())
        raise BadData(f"no {lacks} in {place}; get {self.how_to_get}; then: --data {self.name}=PATH")

    def _splits(self, root: Path) -> dict[str, list[Member]]:
        """The members of each split by ascending id, all their files there. val may be missing as a whole."""
        found = {}
        for split in self.splits:
            wanted = getattr(self.params, split).split("+")
            parts = [(part, self.members(root, part)) for part in wanted]
            absent = [part for part, members in parts if members is None]
            if absent and split != "val":
                raise BadData(
                    f"{root} has no {absent[0]!r}, the {split} of {self.name}; get {self.how_to_get}; "
                    f"then: --data {self.name}=PATH"
                )
            if not absent:
                found[split] = self._whole(root, split, [m for _, members in parts for m in members or []])
        return found

    def _whole(self, root: Path, split: str, members: list[Member]) -> list[Member]:
        if not members:
            raise BadData(
                f"{self.name} split {split} is empty: no images of {getattr(self.params, split)} in {root}"
            )
        members = sorted(members, key=lambda m: m.id)
        for one, other in pairwise(members):
            if one.id == other.id:
                raise BadInput(
                    f"{self.name}.{split}: {one.image} is listed twice; try: --set {self.name}.{split}=ONE"
                )
        listing = _listing(root, members)
        _complete([m.image for m in members], root, listing)
        _complete([m.mask for m in members], root, listing)
        return members

    def run(self, ctx: StageContext) -> None:
        root = ctx.runtime.roots[ctx.stage.key]
        report = {}
        bad: list[str] = []
        found = {
            split: _read_all(ctx, root, split, members, self.images.table, bad)
            for split, members in self._splits(root).items()
        }
        if bad:
            raise BadData.of(bad)
        for split, rows in found.items():
            write_index(ctx.work / split, list(self.classes), rows)
            report[split] = {"images": len(rows), "masks": len(rows)}
        write_json(ctx.work / "report.json", report)

    def load(self, folder: Path, root: Path, split: str) -> ImageSet:
        if split not in self.splits:
            raise BadData(f"{self.name} has the splits train and val, not {split!r}")
        if not (folder / split).is_dir():
            raise BadData(
                f"{root} has no {getattr(self.params, split)!r}, the {split} of {self.name}; get "
                f"{self.how_to_get}"
            )
        return self.images(self.name, split, folder / split, root)


def _listing(root: Path, members: list[Member]) -> Listing:
    """The files of every folder that holds an image or a mask of the members."""
    listing: Listing = {}
    for folder in sorted({name.rpartition("/")[0] for m in members for name in (m.image, m.mask)}):
        listing |= _files(root, folder)
    return listing


def _fingerprint(root: Path, splits: dict[str, list[Member]], runtime: Runtime) -> str:
    """sha256 over the names of the images with their sizes in bytes, and the content of the masks."""
    listing = _listing(root, [m for members in splits.values() for m in members])
    parts = {s: [[m.image, listing[m.image].st_size] for m in members] for s, members in splits.items()}
    masks = sorted({m.mask for members in splits.values() for m in members})
    return digest([parts, _content_hash(root, masks, listing, runtime.home / "cache")])


def _read_row(root: Path, table: np.ndarray, member: Member) -> Row | str:
    """The index row of an image, everything about it checked; or what is wrong, one line."""
    mask_file = root / member.mask
    try:
        height, width = read_rgb(root / member.image).shape[:2]
        mask = read_classes(mask_file)
    except BadData as error:
        return str(error)
    if mask.shape != (height, width):
        return (
            f"mask {mask_file} is {mask.shape[1]}x{mask.shape[0]} but its image is {width}x{height}; "
            "download it again"
        )
    unknown = np.flatnonzero(np.bincount(mask.ravel(), minlength=256) * (table < 0))
    if len(unknown):
        known = ", ".join(map(str, np.flatnonzero(table >= 0)))
        return f"mask {mask_file} holds {unknown[0]}, none of {known}; use the original PNG"
    return Row(member.id, member.image, (width, height), semantic=member.mask)


def _read_all(
    ctx: StageContext, root: Path, split: str, members: list[Member], table: np.ndarray, bad: list[str]
) -> list[Row]:
    """The rows of the images that are whole; what is wrong with the others goes to `bad`."""
    advance = ctx.progress.task(f"check {split}", len(members))
    rows: list[Row] = []
    for found in parallel(partial(_read_row, root, table), members, ctx.runtime.workers, 8):
        advance(1)
        if isinstance(found, str):
            bad.append(found)
        else:
            rows.append(found)
    return rows
