"""MIT Indoor 67 in its official layout: 67 kinds of rooms, 80 training and 20 test images each."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from bench.contracts.data import HowToGet, WriteSample
from bench.core.errors import BadData
from bench.data.layouts.listed import ListedSet, Member, read_lines

LISTS = {"train": "TrainImages.txt", "test": "TestImages.txt"}


class Indoor67(ListedSet):
    """Indoor scene recognition (Quattoni and Torralba 2009): `Images/<class>/`, `TrainImages.txt`
    (5,360 images), `TestImages.txt` (1,340). Images that neither list names are not used. Ids are
    the first 60 bits of the sha256 of an image's path in its list, since files have no numbers.
    """

    folder: str = "indoor67"
    marks: tuple[str, ...] = ("Images", "TrainImages.txt", "TestImages.txt")
    official: Mapping[str, int] = {"train": 5360, "test": 1340}
    how_to_get: HowToGet = HowToGet(
        files={"indoorCVPR_09.tar": 2400, "TrainImages.txt": 0, "TestImages.txt": 0},
        site="web.mit.edu/torralba/www/indoor.html",
        layout="all in one folder indoor67/: Images/ from the archive and the two lists",
    )

    @classmethod
    def sample(cls) -> WriteSample:
        from bench.data.scenes.listed import write_indoor67

        return write_indoor67

    def class_names(self, root: Path) -> list[str]:
        return sorted(
            {
                _class(line, root / f)
                for f in LISTS.values()
                for line in read_lines(root / f, "list")
            }
        )

    def members(self, root: Path, part: str, classes: list[str]) -> list[Member] | None:
        if part not in LISTS:
            raise self.no_list(part, LISTS)
        file, places = root / LISTS[part], {name: k for k, name in enumerate(classes)}
        return [
            Member(path_id(line), f"Images/{line}", places[_class(line, file)])
            for line in read_lines(file, "list")
        ]


def path_id(path: str) -> int:
    """The first 60 bits of the sha256 of a path."""
    return int(hashlib.sha256(path.encode()).hexdigest()[:15], 16)


def _class(line: str, file: Path) -> str:
    folder, _, name = line.rpartition("/")
    if not folder or not name or "/" in folder:
        raise BadData(f"list {file} holds {line[:60]!r}, not CLASS/IMAGE; download it again")
    return folder
