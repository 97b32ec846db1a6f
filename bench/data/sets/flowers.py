"""Oxford Flowers 102 in its official layout: 102 species, 20 labelled images each and a large test
set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.contracts.data import HowToGet, WriteSample
from bench.core.errors import BadData
from bench.core.params import param
from bench.data.layouts.listed import ListedSet, Member, PartsParams, number, read_mat

PARTS = ("trnid", "valid", "tstid")
CLASSES = 102


class FlowersParams(PartsParams):
    """Which list of setid.mat is which split."""

    train: str = param("trnid+valid", help="lists to train on: trnid, valid, or both joined by +")
    val: str = param("tstid", help="lists to score on: tstid, valid")


class Flowers(ListedSet):
    """Oxford 102 Category Flowers (Nilsback and Zisserman 2008): `jpg/image_00001.jpg` and so on,
    `imagelabels.mat`, `setid.mat`.

    The lists are used as `setid.mat` names them: train is trnid and valid (1,020 images each), val
    is tstid (6,149). Classes have no names in these files; they are numbered. Ids are the numbers
    of the images.
    """

    folder: str = "flowers-102"
    marks: tuple[str, ...] = ("jpg", "imagelabels.mat", "setid.mat")
    official: Mapping[str, int] = {"trnid": 1020, "valid": 1020, "tstid": 6149}
    how_to_get: HowToGet = HowToGet(
        files={"102flowers.tgz": 345, "imagelabels.mat": 0, "setid.mat": 0},
        site="robots.ox.ac.uk/~vgg/data/flowers/102",
        layout="all in one folder flowers-102/: jpg/ from the archive and the two .mat files",
    )
    Params = FlowersParams
    params: FlowersParams

    @classmethod
    def sample(cls) -> WriteSample:
        from bench.data.scenes.listed import write_flowers

        return write_flowers

    def class_names(self, root: Path) -> list[str]:
        return [f"flower {k:03d}" for k in range(1, CLASSES + 1)]

    def members(self, root: Path, part: str, classes: list[str]) -> list[Member] | None:
        if part not in PARTS:
            raise self.no_list(part, PARTS)
        labels = _vector(read_mat(root / "imagelabels.mat", "labels")[0])
        wanted = [
            number(n, root / "setid.mat") for n in _vector(read_mat(root / "setid.mat", part)[0])
        ]
        wrong = [n for n in wanted if not 1 <= n <= len(labels)]
        if wrong:
            raise BadData(
                f"{root / 'setid.mat'} lists image {wrong[0]} but imagelabels.mat has "
                f"{len(labels)} labels; "
                "download both again"
            )
        return [
            Member(
                n, f"jpg/image_{n:05d}.jpg", number(labels[n - 1], root / "imagelabels.mat") - 1
            )
            for n in wanted
        ]


def _vector(found: Any) -> np.ndarray:
    return np.atleast_1d(np.asarray(found)).ravel()
