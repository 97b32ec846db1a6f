"""Sets whose annotation is one mask of class indices per image: where the files are, the stage,
the masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from bench.contracts.context import StageContext
from bench.contracts.images import ImageSet, Objects
from bench.core.errors import BadData
from bench.core.files import write_json
from bench.core.image import check_image
from bench.core.params import Runtime, digest
from bench.core.stage import Stage
from bench.data.files import Listing, contents_hash
from bench.data.findings import find_repeated
from bench.data.index import IndexedImages, Row, write_index
from bench.data.layouts.parts import PartedSet, sizes
from bench.data.runner import read_splits
from bench.data.semantic import read_classes


@dataclass(frozen=True)
class Member:
    """An image of a split and its mask, both relative to the root."""

    id: int
    image: str
    mask: str

    @property
    def files(self) -> list[str]:
        """What must be there."""
        return [self.image, self.mask]


def lookup(values: Mapping[int, int]) -> np.ndarray:
    """(256,) int16: what a value in a mask file means (1..K a class, 255 void),
    -1 where it means nothing."""
    table = np.full(256, -1, np.int16)
    for value, meaning in values.items():
        table[value] = meaning
    return table


class PixelImages(IndexedImages):
    """A split of masks without boxes; `table` (`lookup`)
    says what the values in its mask files mean."""

    background = False
    table: np.ndarray

    def semantic(self, index: int) -> np.ndarray | None:
        raw = super().semantic(index)
        return None if raw is None else self.table[raw].astype(np.uint8)

    def objects(self, index: int) -> Objects:
        raise BadData(
            f"data {self.name!r} has masks but no boxes; try: --data coco=PATH or --data scenes"
        )


class PixelSet(PartedSet[Member]):
    """Images with a mask each. Params name the parts of the splits, several joined by +.

    Subclasses find the members. Masks are read as 8-bit values, never as colours; every value must
    be one that `images.table` knows.
    """

    images: type[PixelImages]
    classes: tuple[str, ...]

    @classmethod
    def annotations(cls) -> frozenset[str]:
        return frozenset({"semantic"})

    def stage(self, root: Path | None, runtime: Runtime) -> Stage:
        root = self._root(root)
        mark = _fingerprint(root, *self._splits(root), runtime.home / "cache")
        return self.make_stage(root, runtime, fingerprint=mark)

    def run(self, ctx: StageContext) -> None:
        root = ctx.runtime.roots[ctx.stage.key]
        checked = read_splits(
            ctx, partial(_read_row, root, self.images.table), self._splits(root)[0]
        )
        for split, rows in checked.items():
            write_index(ctx.work / split, list(self.classes), rows)
        remarks = find_repeated(checked)
        report = {
            split: {"images": len(rows), "masks": len(rows), "remarks": remarks[split]}
            for split, rows in checked.items()
        }
        write_json(ctx.work / "report.json", report)

    def open_split(self, index: Path, root: Path, split: str) -> ImageSet:
        return self.images(self.name, split, index, root)


def _fingerprint(
    root: Path, splits: dict[str, list[Member]], listing: Listing, cache: Path
) -> str:
    """sha256 over the names of the images with their sizes in bytes,
    and the content of the masks."""
    masks = sorted({m.mask for members in splits.values() for m in members})
    return digest([sizes(splits, listing), contents_hash(root, masks, listing, cache)])


def _read_row(root: Path, table: np.ndarray, member: Member) -> Row | str:
    """The index row of an image, everything about it checked; or what is wrong, one line."""
    mask_file = root / member.mask
    try:
        checked = check_image(root / member.image)
        mask = read_classes(mask_file)
    except BadData as error:
        return str(error)
    width, height = checked.size
    if mask.shape != (height, width):
        return (
            f"mask {mask_file} is {mask.shape[1]}x{mask.shape[0]} but its image "
            f"is {width}x{height}; download it again"
        )
    unknown = np.flatnonzero(np.bincount(mask.ravel(), minlength=256) * (table < 0))
    if len(unknown):
        known = ", ".join(map(str, np.flatnonzero(table >= 0)))
        return f"mask {mask_file} holds {unknown[0]}, none of {known}; use the original PNG"
    return Row(member.id, member.image, checked.size, semantic=member.mask, mark=checked.mark)
