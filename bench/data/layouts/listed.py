"""Classification sets with published lists of files,
in their authors' layouts: the stage, the labels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench.contracts.context import StageContext
from bench.contracts.images import ImageSet
from bench.core.errors import BadData, BadInput, unknown
from bench.core.files import write_json
from bench.core.image import check_image
from bench.core.params import Params, Runtime, digest, param
from bench.core.stage import Stage
from bench.data.files import Listing
from bench.data.findings import find_repeated
from bench.data.index import Row, write_index
from bench.data.layouts.labelled import ClassifiedImages
from bench.data.layouts.parts import PartedSet
from bench.data.runner import read_splits


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

    @property
    def files(self) -> list[str]:
        """What must be there."""
        return [self.image]


class ListedImages(ClassifiedImages):
    """A split with one class an image.
    cut: rows at the bottom of every file that are not shown."""

    def __init__(self, name: str, split: str, index: Path, images: Path, cut: int = 0) -> None:
        super().__init__(name, split, index, images)
        self.cut = cut

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"cut": self.cut}

    def image(self, index: int) -> np.ndarray:
        return cut_foot(super().image(index), self.cut)


def cut_foot(image: np.ndarray, cut: int) -> np.ndarray:
    """The image less `cut` rows at the bottom, at least one row."""
    return image[: max(1, len(image) - cut)]


class ListedSet(PartedSet[Member]):
    """Images with one class each. Subclasses read the class names and the members of a list.
    `official`: how many images each published list has; another number is noted, not refused.
    """

    Params: type[Params] = PartsParams
    params: PartsParams

    @classmethod
    def annotations(cls) -> frozenset[str]:
        return frozenset({"objects"})

    def class_names(self, root: Path) -> list[str]:
        """The classes in the order of their labels."""
        raise NotImplementedError

    def members(self, root: Path, part: str, classes: list[str]) -> list[Member] | None:
        """The members of one published list; None if it is not there.
        BadInput for a list that is none."""
        raise NotImplementedError

    def foot(self) -> int:
        """Rows to cut off at the bottom of every image."""
        return 0

    def part(self, root: Path, split: str, part: str) -> list[Member] | None:
        classes = self.class_names(root)
        members = self.members(root, part, classes)
        for member in members or []:
            if not 0 <= member.label < len(classes):
                raise BadData(
                    f"{self.name} {split}: {member.image} has class number {member.label + 1}, "
                    f"there are {len(classes)}; download the lists again"
                )
        return members

    def stage(self, root: Path | None, runtime: Runtime) -> Stage:
        root = self._root(root)
        mark = _fingerprint(self.class_names(root), *self._splits(root))
        return self.make_stage(root, runtime, fingerprint=mark)

    def run(self, ctx: StageContext) -> None:
        root = ctx.runtime.roots[ctx.stage.key]
        classes, (splits, _) = self.class_names(root), self._splits(root)
        report: dict[str, Any] = {}
        checked = read_splits(ctx, partial(_read_row, root, self.foot()), splits)
        remarks = find_repeated(checked)
        for split, rows in checked.items():
            write_index(ctx.work / split, classes, rows)
            counts = np.bincount([m.label for m in splits[split]], minlength=len(classes))
            report[split] = {
                "images": len(rows),
                "classes": int((counts > 0).sum()),
                "least_of_a_class": int(counts.min()),
                "most_of_a_class": int(counts.max()),
                "remarks": remarks[split],
            }
            self._compare(ctx, split, len(rows))
        write_json(ctx.work / "report.json", report)

    def _compare(self, ctx: StageContext, split: str, count: int) -> None:
        published = self.published().get(split)
        if published and count != published:
            ctx.progress.note(
                f"{self.name} {split}: {count} images, the published lists have {published}"
            )

    def open_split(self, index: Path, root: Path, split: str) -> ImageSet:
        return ListedImages(self.name, split, index, root, self.foot())

    def no_list(self, part: str, known: Iterable[str]) -> BadInput:
        """The error for a list that this set does not have by its layout."""
        return unknown(
            f"list of data {self.name!r}", part, known, f"bench list params {self.name}"
        )


def read_lines(file: Path, what: str) -> list[str]:
    """The lines of a list that are not empty and no comment (#), stripped;
    BadData if it cannot be read."""
    try:
        lines = [line.strip() for line in file.read_text().splitlines()]
    except (OSError, ValueError) as error:
        raise BadData(f"{what} {file} cannot be read ({error}); download it again") from None
    return [line for line in lines if line and not line.startswith("#")]


def read_table(file: Path, what: str, columns: str, most: int = -1) -> list[list[str]]:
    """The lines split at spaces into as many words as `columns` has
    (the last keeps its spaces where `most` is that number less one).
    BadData naming the line that has another number of words."""
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
        raise BadData(
            f"{file} holds {str(text)[:40]!r} where a number belongs; download it again"
        ) from None


def read_mat(file: Path, *names: str) -> tuple[Any, ...]:
    """The named variables of a MATLAB 5 file: arrays, and structs as dicts. BadData if they are
    not there."""
    from scipy.io import loadmat  # takes a moment to import

    try:
        content = loadmat(file, simplify_cells=True)
    except FileNotFoundError:
        raise BadData(f"{file} is missing; download it again") from None
    except Exception as error:  # damage of a binary file looks different every time
        reason = " ".join(str(error).split())[:80]
        raise BadData(
            f"{file} is not a readable MATLAB file ({reason}); download it again"
        ) from None
    lacks = [name for name in names if name not in content]
    if lacks:
        raise BadData(f"{file} has no variable {lacks[0]!r}; download it again")
    return tuple(content[name] for name in names)


def _fingerprint(classes: list[str], splits: dict[str, list[Member]], listing: Listing) -> str:
    """sha256 over the class names, and the images of each split with their
    sizes in bytes and classes."""
    parts = {
        s: [[m.image, listing[m.image].st_size, m.label] for m in each]
        for s, each in splits.items()
    }
    return digest([classes, parts])


def _read_row(root: Path, cut: int, member: Member) -> Row | str:
    """The index row of an image that decodes; or what is wrong, one line."""
    try:
        checked = check_image(root / member.image)
    except BadData as error:
        return str(error)
    size = checked.width, max(1, checked.height - cut)
    return Row(member.id, member.image, size, label=member.label, mark=checked.mark)
