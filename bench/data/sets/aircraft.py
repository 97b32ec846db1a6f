"""FGVC-Aircraft in its official layout: 100 variants, 100 images each, a credit line at the foot
of each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bench.contracts.data import HowToGet, WriteSample
from bench.core.errors import BadData
from bench.core.params import param
from bench.data.layouts.listed import (
    ListedSet,
    Member,
    PartsParams,
    number,
    read_lines,
    read_table,
)

PARTS = ("train", "val", "trainval", "test")
FOOT = 20  # rows of the credit line


class AircraftParams(PartsParams):
    """Which list is which split, and the credit line."""

    train: str = param("trainval", help="lists to train on: train, val, trainval")
    val: str = param("test", help="lists to score on: test, val")
    banner: bool = param(
        False, help="keep the 20 rows with the credit line, which the authors say to remove"
    )


class Aircraft(ListedSet):
    """FGVC-Aircraft 2013b (Maji et al. 2013): `data/images/`, `data/variants.txt`,
    `data/images_variant_<list>.txt`.

    Classes are the 100 variants. train is trainval (6,667 images), val is test (3,333). The
    authors ask to remove the 20 rows with the credit line before use; much published code does
    not: `banner` keeps them. Ids are the numbers of the files.
    """

    folder: str = "fgvc-aircraft-2013b"
    marks: tuple[str, ...] = ("data/images", "data/variants.txt")
    official: Mapping[str, int] = {"train": 3334, "val": 3333, "trainval": 6667, "test": 3333}
    how_to_get: HowToGet = HowToGet(
        files={"fgvc-aircraft-2013b.tar.gz": 2750},
        site="robots.ox.ac.uk/~vgg/data/fgvc-aircraft",
        layout="unpacked: it makes fgvc-aircraft-2013b/ with data/images/ and the lists in data/",
    )
    Params = AircraftParams
    params: AircraftParams

    @classmethod
    def sample(cls) -> WriteSample:
        from bench.data.scenes.listed import write_aircraft

        return write_aircraft

    def foot(self) -> int:
        return 0 if self.params.banner else FOOT

    def class_names(self, root: Path) -> list[str]:
        return read_lines(root / "data/variants.txt", "list")

    def members(self, root: Path, part: str, classes: list[str]) -> list[Member] | None:
        if part not in PARTS:
            raise self.no_list(part, PARTS)
        file = root / f"data/images_variant_{part}.txt"
        if not file.is_file():
            return None
        places, found = {name: k for k, name in enumerate(classes)}, []
        for image, variant in read_table(file, "list", "IMAGE VARIANT", 1):
            if variant not in places:
                raise BadData(
                    f"{file} has the variant {variant!r}, which variants.txt lacks; unpack it "
                    "again"
                )
            found.append(Member(number(image, file), f"data/images/{image}.jpg", places[variant]))
        return found
