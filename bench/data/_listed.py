"""Classification sets with published lists of files, in their authors' layouts: the stage, the labels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from bench.data._labelled import ClassifiedImages
from bench.data._voc import Listing, _complete, _files
from bench.data.base import Data, ImageSet
from bench.data.image import read_rgb
from bench.data.index import Row, write_index
from bench.data.runner import parallel
from bench.engine.context import StageContext
from bench.errors import BadData, BadInput, unknown
from bench.params import Params, Runtime, digest, param
from bench.stage import Stage
from bench.store import write_json


class PartsParams(Params):
    """Which of the published lists is which split."""

    train: str = param("train", help="lists to train on, several joined by +")
    val: str = param("test", help="lists to score on, several joined by +")


@dataclass(frozen=True)
class Member:
    """An image of a split, relative to the root, and the position of its class."""

    id: int
    image: str
    label: int


class ListedImages(ClassifiedImages):
    """A split with one class an image. cut: rows at the bottom of every file that are not shown."""

    def __init__(self, name: str, split: str, index: Path, images: Path, cut: int = 0) -> None:
        super().__init__(name, split, index, images)
        self.cut = cut

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"cut": self.cut}

    def image(self, index: int) -> np.ndarray:
        return without_foot(super().image(index), self.cut)


def without_foot(image: np.ndarray, cut: int) -> np.ndarray:
    """The image less `cut` rows at the bottom, at least one row."""
    return image[: max(1, len(image) - cut)]


class ListedSet(Data):
    """Images with one class each. Params name the lists of the splits; what no split names has no influence
    on the key.

    Subclasses say which `marks` (files or folders) a root holds, and read the class names and the members of
    a list. `official`: how many images each published list has; another number is noted, not refused.
    """

    marks: ClassVar[tuple[str, ...]]
    Params: ClassVar[type[Params]] = PartsParams
    params: PartsParams

    def class_names(self, root: Path) -> list[str]:
        """The classes in the order of their labels."""
        raise NotImplementedError

    def members(self, root: Path, part: str, classes: list[str]) -> list[Member] | None:
        """The members of one published list; None if it is not there. BadInput for a list that is none."""
        raise NotImplementedError

    def foot(self) -> int:
        """Rows to cut off at the bottom of every image."""
        return 0

    def stage(self, root: Path | None, runtime: Runtime) -> Stage:
        root = self._root(root)
        classes, splits = self._splits(root)
        stage = Stage(
            "data", self.name, self.version,
            {"params": self.params.identity(), "fingerprint": _fingerprint(root, classes, splits)},
            "bench.data.runner:run",
        )  # fmt: skip
        runtime.roots[stage.key] = root
        return stage

    def _root(self, given: Path | None) -> Path:
        place = self.place(given)
        choices = [place, place / self.folder]
        for choice in choices:
            if all((choice / mark).exists() for mark in self.marks):
                return choice
        best = min(choices, key=lambda c: sum(not (c / mark).exists() for mark in self.marks))
        lacks = next(mark for mark in self.marks if not (best / mark).exists())
        raise BadData(f"no {lacks} in {best}; get {self.how_to_get}; then: --data {self.name}=PATH")

    def _splits(self, root: Path) -> tuple[list[str], dict[str, list[Member]]]:
        """Class names, and the members of each split by ascending id, all their files there. val may be
        missing as a whole."""
        classes = self.class_names(root)
        found = {}
        for split in self.splits:
            wanted = getattr(self.params, split).split("+")
            parts = [(part, self.members(root, part, classes)) for part in wanted]
            absent = [part for part, members in parts if members is None]
            if absent and split != "val":
                raise BadData(
                    f"{root} has no list {absent[0]!r}, the {split} of {self.name}; get {self.how_to_get}; "
                    f"then: --data {self.name}=PATH"
                )
            if not absent:
                found[split] = self._whole(root, split, [m for _, members in parts for m in members or []])
        for split, members in found.items():
            for member in members:
                if not 0 <= member.label < len(classes):
                    raise BadData(
                        f"{self.name} {split}: {member.image} has class number {member.label + 1}, there are "
                        f"{len(classes)}; download the lists again"
                    )
        return classes, found

    def _whole(self, root: Path, split: str, members: list[Member]) -> list[Member]:
        setting = getattr(self.params, split)
        if not members:
            raise BadData(f"{self.name} split {split} is empty: no images of {setting} in {root}")
        members = sorted(members, key=lambda m: m.id)
        for one, other in pairwise(members):
            if one.id == other.id:
                raise BadInput(
                    f"{self.name}.{split}={setting}: {one.image} is listed twice; try: --set "
                    f"{self.name}.{split}=ONE_LIST, or download the lists again"
                )
        _complete([m.image for m in members], root, _listing(root, members))
        return members

    def run(self, ctx: StageContext) -> None:
        root = ctx.runtime.roots[ctx.stage.key]
        classes, splits = self._splits(root)
        report: dict[str, Any] = {}
        bad: list[str] = []
        rows = {split: self._rows(ctx, root, split, members, bad) for split, members in splits.items()}
        if bad:
            raise BadData.of(bad)
        for split, members in splits.items():
            write_index(ctx.work / split, classes, rows[split])
            counts = np.bincount([m.label for m in members], minlength=len(classes))
            report[split] = {
                "images": len(members), "classes": int((counts > 0).sum()),
                "least_of_a_class": int(counts.min()), "most_of_a_class": int(counts.max()),
            }  # fmt: skip
            self._compare(ctx, split, len(members))
        write_json(ctx.work / "report.json", report)

    def _rows(
        self, ctx: StageContext, root: Path, split: str, members: list[Member], bad: list[str]
    ) -> list[Row]:
        advance = ctx.progress.task(f"check {split}", len(members))
        rows: list[Row] = []
        for found in parallel(partial(_read_row, root, self.foot()), members, ctx.runtime.workers, 8):
            advance(1)
            if isinstance(found, str):
                bad.append(found)
            else:
                rows.append(found)
        return rows

    def _compare(self, ctx: StageContext, split: str, count: int) -> None:
        published = self.published().get(split)
        if published and count != published:
            ctx.progress.note(f"{self.name} {split}: {count} images, the published lists have {published}")

    def load(self, folder: Path, root: Path, split: str) -> ImageSet:
        if split not in self.splits:
            raise BadData(f"{self.name} has the splits train and val, not {split!r}")
        if not (folder / split).is_dir():
            raise BadData(
                f"{root} has no list {getattr(self.params, split)!r}, the {split} of {self.name}; get "
                f"{self.how_to_get}"
            )
        return ListedImages(self.name, split, folder / split, root, self.foot())

    def no_list(self, part: str, known: Iterable[str]) -> BadInput:
        """The error for a list that this set does not have by its layout."""
        return unknown(f"list of data {self.name!r}", part, known, f"bench list params {self.name}")


def read_lines(file: Path, what: str) -> list[str]:
    """The lines of a list that are not empty and no comment (#), stripped; BadData if it cannot be read."""
    try:
        lines = [line.strip() for line in file.read_text().splitlines()]
    except (OSError, ValueError) as error:
        raise BadData(f"{what} {file} cannot be read ({error}); download it again") from None
    return [line for line in lines if line and not line.startswith("#")]


def read_table(file: Path, what: str, columns: str, most: int = -1) -> list[list[str]]:
    """The lines split at spaces into as many words as `columns` has (the last keeps its spaces where `most`
    is that number less one). BadData naming the line that has another number of words."""
    wanted, rows = len(columns.split()), []
    for line in read_lines(file, what):
        words = line.split(None, most)
        if len(words) != wanted:
            raise BadData(f"{what} {file} holds {line[:60]!r}, not {columns!r}; download it again")
        rows.append(words)
    return rows


def number(text: Any, file: Path) -> int:
    """A whole number of a list."""
    try:
        return int(text)
    except (TypeError, ValueError, OverflowError):
        raise BadData(f"{file} holds {str(text)[:40]!r} where a number belongs; download it again") from None


def read_mat(file: Path, *names: str) -> tuple[Any, ...]:
    """The named variables of a MATLAB 5 file: arrays, and structs as dicts. BadData if they are not there."""
    from scipy.io import loadmat  # takes a moment to import

    try:
        found = loadmat(file, simplify_cells=True)
    except FileNotFoundError:
        raise BadData(f"{file} is missing; download it again") from None
    except Exception as error:  # damage of a binary file looks different every time
        reason = " ".join(str(error).split())[:80]
        raise BadData(f"{file} is no readable MATLAB file ({reason}); download it again") from None
    lacks = [name for name in names if name not in found]
    if lacks:
        raise BadData(f"{file} has no variable {lacks[0]!r}; download it again")
    return tuple(found[name] for name in names)


def _listing(root: Path, members: list[Member]) -> Listing:
    listing: Listing = {}
    for folder in sorted({m.image.rpartition("/")[0] for m in members}):
        listing |= _files(root, folder)
    return listing


def _fingerprint(root: Path, classes: list[str], splits: dict[str, list[Member]]) -> str:
    """sha256 over the class names, and the images of each split with their sizes in bytes and classes."""
    parts = {}
    for split, members in splits.items():
        listing = _listing(root, members)
        parts[split] = [[m.image, listing[m.image].st_size, m.label] for m in members]
    return digest([classes, parts])


def _read_row(root: Path, cut: int, member: Member) -> Row | str:
    """The index row of an image that decodes; or what is wrong, one line."""
    try:
        height, width = without_foot(read_rgb(root / member.image), cut).shape[:2]
    except BadData as error:
        return str(error)
    return Row(member.id, member.image, (width, height), label=member.label)
