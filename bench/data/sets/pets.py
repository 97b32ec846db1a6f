"""Oxford-IIIT Pets in its official layout: 37 breeds of cats and dogs, about 100 training images
each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from bench.contracts.data import HowToGet, WriteSample
from bench.core.errors import BadData
from bench.core.params import param
from bench.data.layouts.listed import ListedSet, Member, PartsParams, number, read_table

PARTS = ("trainval", "test")
NAME = re.compile(r"(.+)_(\d+)")


class PetsParams(PartsParams):
    """Which list is which split."""

    train: str = param("trainval", help="lists to train on: trainval, test, or both joined by +")
    val: str = param("test", help="lists to score on")


class Pets(ListedSet):
    """Oxford-IIIT Pet (Parkhi et al. 2012): `images/<Breed>_<number>.jpg`,
    `annotations/trainval.txt` (3,680 images), `annotations/test.txt` (3,669). Classes are the
    breeds, in the order of their numbers. Ids are 10,000 times the breed's number plus the
    image's. Head boxes and masks are not read.
    """

    folder: str = "oxford-iiit-pet"
    marks: tuple[str, ...] = ("images", "annotations/trainval.txt")
    official: Mapping[str, int] = {"trainval": 3680, "test": 3669}
    how_to_get: HowToGet = HowToGet(
        files={"images.tar.gz": 792, "annotations.tar.gz": 19},
        site="robots.ox.ac.uk/~vgg/data/pets",
        layout="both unpacked in one folder oxford-iiit-pet/: images/ and annotations/",
    )
    Params = PetsParams
    params: PetsParams

    @classmethod
    def sample(cls) -> WriteSample:
        from bench.data.scenes.listed import write_pets

        return write_pets

    def class_names(self, root: Path) -> list[str]:
        names: dict[int, str] = {}
        for part in PARTS:
            for breed, _, k in _read(root, part) or []:
                if names.setdefault(k, breed) != breed:
                    raise BadData(
                        f"{root / 'annotations'}: breed {k} is {names[k]} and {breed}; unpack it "
                        "again"
                    )
        missing = [k for k in range(1, max(names, default=0) + 1) if k not in names]
        if missing:
            raise BadData(
                f"{root / 'annotations'} lists no image of breed {missing[0]}; unpack it again"
            )
        return [names[k] for k in sorted(names)]

    def members(self, root: Path, part: str, classes: list[str]) -> list[Member] | None:
        if part not in PARTS:
            raise self.no_list(part, PARTS)
        rows = _read(root, part)
        if rows is None:
            return None
        return [Member(k * 10_000 + n, f"images/{breed}_{n}.jpg", k - 1) for breed, n, k in rows]


def _read(root: Path, part: str) -> list[tuple[str, int, int]] | None:
    """(breed, number of the image, number of the breed from 1) of a list; None if it is not there."""
    file, found = root / f"annotations/{part}.txt", []
    if not file.is_file():
        return None
    for image, breed, _, _ in read_table(file, "list", "IMAGE BREED SPECIES NUMBER"):
        parts = NAME.fullmatch(image)
        if parts is None or number(breed, file) < 1:
            raise BadData(
                f"list {file} holds {image[:60]!r}, breed {breed}; unpack the archive again"
            )
        found.append((parts[1], int(parts[2]), number(breed, file)))
    return found
