"""Describable Textures in their official layout: 47 adjectives, 120 images each, ten divisions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from bench.contracts.data import HowToGet, WriteSample
from bench.core.errors import BadData
from bench.core.params import param
from bench.data.layouts.listed import ListedSet, Member, PartsParams, read_lines

PARTS = tuple(f"{kind}{n}" for n in range(1, 11) for kind in ("train", "val", "test"))
LINE = re.compile(r"([^/]+)/\1_(\d+)\.jpg")


class DtdParams(PartsParams):
    """Which list is which split: the number is that of the division, 1 to 10."""

    train: str = param(
        "train1+val1", help="lists to train on: train1, train1+val1, ... train10+val10"
    )
    val: str = param("test1", help="lists to score on: test1 to test10, or val1 to val10")


class Dtd(ListedSet):
    """Describable Textures Dataset (Cimpoi et al. 2014): `images/<class>/`, `labels/train1.txt`
    and so on.

    Each of the ten divisions has 1,880 images to train, to validate and to test. train is train1
    and val1, val is test1, the first division, which most transfer results report; the authors
    report the mean of all ten. Ids are 10,000 times the position of the class in the alphabet plus
    the number of the file.
    """

    folder: str = "dtd"
    marks: tuple[str, ...] = ("images", "labels/train1.txt", "labels/val1.txt", "labels/test1.txt")
    official: Mapping[str, int] = dict.fromkeys(PARTS, 1880)
    how_to_get: HowToGet = HowToGet(
        files={"dtd-r1.0.1.tar.gz": 600},
        site="robots.ox.ac.uk/~vgg/data/dtd",
        layout="unpacked: it makes dtd/ with images/ and labels/",
    )
    Params = DtdParams
    params: DtdParams

    @classmethod
    def sample(cls) -> WriteSample:
        from bench.data.scenes.listed import write_dtd

        return write_dtd

    def class_names(self, root: Path) -> list[str]:
        files = [root / f"labels/{kind}1.txt" for kind in ("train", "val", "test")]
        return sorted(
            {_parts(line, file)[0] for file in files for line in read_lines(file, "list")}
        )

    def members(self, root: Path, part: str, classes: list[str]) -> list[Member] | None:
        if part not in PARTS:
            raise self.no_list(part, PARTS)
        file = root / f"labels/{part}.txt"
        if not file.is_file():
            return None
        places, found = {name: k for k, name in enumerate(classes)}, []
        for line in read_lines(file, "list"):
            name, n = _parts(line, file)
            if name not in places:
                raise BadData(
                    f"{file} has the class {name!r}, which division 1 lacks; unpack the archive "
                    "again"
                )
            found.append(Member(places[name] * 10_000 + n, f"images/{line}", places[name]))
        return found


def _parts(line: str, file: Path) -> tuple[str, int]:
    """Class and number of `banded/banded_0002.jpg`."""
    found = LINE.fullmatch(line)
    if found is None:
        raise BadData(
            f"list {file} holds {line[:60]!r}, not CLASS/CLASS_NUMBER.jpg; unpack the archive "
            "again"
        )
    return found[1], int(found[2])
