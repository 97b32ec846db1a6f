"""Cityscapes in its official layout: street scenes with fine masks, 19 classes that are scored."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from bench.contracts.data import HowToGet, WriteSample
from bench.core.errors import BadData, nearest
from bench.core.params import Params, param
from bench.data.layouts.driving import CITYSCAPES_LABELS as LABELS
from bench.data.layouts.pixels import Member, PixelImages, PixelSet, lookup
from bench.data.semantic import VOID

CITIES = (
    "aachen",
    "bochum",
    "bremen",
    "cologne",
    "darmstadt",
    "dusseldorf",
    "erfurt",
    "hamburg",
    "hanover",
    "jena",
    "krefeld",
    "monchengladbach",
    "strasbourg",
    "stuttgart",
    "tubingen",
    "ulm",
    "weimar",
    "zurich",
    "frankfurt",
    "lindau",
    "munster",
    "berlin",
    "bielefeld",
    "bonn",
    "leverkusen",
    "mainz",
    "munich",
)
# -1 is stored as 255
IDS = {i: VOID for i in (*range(34), 255)} | {i: n for n, i in enumerate(LABELS, 1)}
IMAGE = "_leftImg8bit.png"
NAME = re.compile(r"([a-z]+)_(\d{6})_(\d{6})")


class CityscapesParams(Params):
    """Which folder of `leftImg8bit/` is which split."""

    train: str = param("train", help="folders to train on: train, train+val, ...")
    val: str = param("val", help="folders to score on")


class CityscapesImages(PixelImages):
    """`semantic`: the train id plus 1, and 255 for the fifteen ids that are not scored."""

    table = lookup(IDS)


class Cityscapes(PixelSet):
    """Cityscapes, fine annotations (Cordts et al. 2016): train (2,975 images of 18 cities), val
    (500 of 3).

    `leftImg8bit/<split>/<city>/<city>_<sequence>_<frame>_leftImg8bit.png` and, for each,
    `gtFine/<split>/<city>/..._gtFine_labelIds.png`. The 34 ids become the official 19 train ids.
    """

    folder: str = "cityscapes"
    list_noun: str = "folder"
    marks: tuple[str, ...] = ("leftImg8bit", "gtFine")
    how_to_get: HowToGet = HowToGet(
        files={"leftImg8bit_trainvaltest.zip": 11_000, "gtFine_trainvaltest.zip": 241},
        site="cityscapes-dataset.com (free registration)",
        layout="unpacked into one folder: leftImg8bit/ and gtFine/",
    )
    official: Mapping[str, int] = {"train": 2975, "val": 500}
    classes = tuple(LABELS.values())
    images = CityscapesImages
    Params: type[Params] = CityscapesParams
    params: CityscapesParams

    @classmethod
    def sample(cls) -> WriteSample:
        from bench.data.scenes.pixels import write_cityscapes

        return write_cityscapes

    def part(self, root: Path, split: str, part: str) -> list[Member] | None:
        folder = root / "leftImg8bit" / part
        if not folder.is_dir():
            return None
        found = []
        for city in sorted(e.name for e in os.scandir(folder) if e.is_dir()):
            names = sorted(e.name for e in os.scandir(folder / city) if e.name.endswith(IMAGE))
            found += [_member(folder, part, city, name.removesuffix(IMAGE)) for name in names]
        return found


def _member(folder: Path, part: str, city: str, name: str) -> Member:
    """id: number of the city in `CITIES` from 1, six digits of the sequence, six of the frame."""
    parts = NAME.fullmatch(name)
    if parts is None or parts[1] != city or city not in CITIES:
        guess = nearest(city, CITIES)
        hint = f" (did you mean {guess!r}?)" if guess and guess != city else ""
        raise BadData(
            f"{folder / city / name}{IMAGE} is no image of Cityscapes: CITY_SEQUENCE_FRAME{IMAGE} "
            "in the "
            f"folder of one of its 27 cities{hint}; unpack leftImg8bit_trainvaltest.zip again"
        )
    number = (CITIES.index(city) + 1) * 10**12 + int(parts[2]) * 10**6 + int(parts[3])
    image = f"leftImg8bit/{part}/{city}/{name}{IMAGE}"
    return Member(number, image, f"gtFine/{part}/{city}/{name}_gtFine_labelIds.png")
