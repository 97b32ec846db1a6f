"""Sets that come with published lists: each split is one list or several, named in the params."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from bench.contracts.data import Data
from bench.contracts.images import ImageSet
from bench.core.errors import BadData, BadInput
from bench.data.files import Listing, list_files, require


class Listed(Protocol):
    """An image of a list: its id, its file relative to the root, all files it needs."""

    @property
    def id(self) -> int: ...
    @property
    def image(self) -> str: ...
    @property
    def files(self) -> Sequence[str]: ...


M = TypeVar("M", bound=Listed)


class PartedSet(Data, Generic[M]):
    """Params name the lists of each split, several joined by +. What no split names has no
    influence on the key. val may be missing as a whole, train may not.

    Subclasses say which `marks` (files or folders) a root holds, and read a list.
    """

    marks: tuple[str, ...]
    list_noun: str = "list"

    def part(self, root: Path, split: str, part: str) -> list[M] | None:
        """The members of one list; None if it is not there.
        BadInput for a name that is no list's."""
        raise NotImplementedError

    def _root(self, given: Path | None) -> Path:
        """The folder given or the one of the set's name in it, whichever has the marks."""
        place = self.place(given)
        choices = [place, place / self.folder]
        lacks = {c: [mark for mark in self.marks if not (c / mark).exists()] for c in choices}
        best = min(choices, key=lambda c: len(lacks[c]))
        if lacks[best]:
            raise BadData(
                f"no {lacks[best][0]} in {best}; get {self.how_to_get}; then: {self._then()}"
            )
        return best

    def _splits(self, root: Path) -> tuple[dict[str, list[M]], Listing]:
        """The members of each split by ascending id, and the files of the folders they name;
        BadData where one is missing."""
        splits = {}
        for split in self.splits:
            setting = getattr(self.params, split)
            parts = [(name, self.part(root, split, name)) for name in setting.split("+")]
            absent = [name for name, members in parts if members is None]
            if absent and split != "val":
                raise self._absent(root, split, absent[0])
            if not absent:
                splits[split] = self._ordered(
                    root, split, [m for _, members in parts for m in members or []]
                )
        needed = [file for members in splits.values() for m in members for file in m.files]
        listing = list_files(root, (file.rpartition("/")[0] for file in needed))
        require(needed, root, listing)
        return splits, listing

    def _ordered(self, root: Path, split: str, members: list[M]) -> list[M]:
        setting = getattr(self.params, split)
        if not members:
            raise BadData(f"{self.name} split {split} is empty: no images of {setting} in {root}")
        members = sorted(members, key=lambda m: m.id)
        for one, other in pairwise(members):
            if one.id == other.id:
                raise BadInput(
                    f"{self.name}.{split}={setting}: {one.image} is listed twice; try: "
                    f"--set {self.name}.{split}=ONE_{self.list_noun.upper().replace(' ', '_')}, "
                    f"or download the {self.list_noun}s again"
                )
        return members

    def _absent(self, root: Path, split: str, part: str) -> BadData:
        return BadData(
            f"{root} has no {self.list_noun} {part!r}, the {split} of {self.name}; "
            f"get {self.how_to_get}; then: {self._then()}"
        )

    def _then(self) -> str:
        return f"--data {self.name}=PATH"

    def load(self, folder: Path, root: Path, split: str) -> ImageSet:
        if split in self.splits and not (folder / split).is_dir():
            raise self._absent(root, split, getattr(self.params, split))
        return super().load(folder, root, split)


def sizes(splits: dict[str, list[M]], listing: Listing) -> dict[str, list[list[object]]]:
    """[name, bytes] of the images of each split: what a fingerprint says of them."""
    return {
        s: [[m.image, listing[m.image].st_size] for m in members] for s, members in splits.items()
    }
