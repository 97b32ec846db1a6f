"""Caltech-UCSD Birds 200-2011 in its official layout: 200 species, about 30 training images each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bench.contracts.data import HowToGet, WriteSample
from bench.core.errors import BadData
from bench.data.layouts.listed import ListedSet, Member, number, read_table

PARTS = {"test": "0", "train": "1"}  # values of train_test_split.txt


class Cub(ListedSet):
    """CUB-200-2011 (Wah et al. 2011): `images.txt`, `image_class_labels.txt`,
    `train_test_split.txt` and `classes.txt` beside `images/`. Ids are the set's own. Its boxes and
    parts are not read."""

    folder: str = "CUB_200_2011"
    marks: tuple[str, ...] = (
        "images",
        "images.txt",
        "classes.txt",
        "image_class_labels.txt",
        "train_test_split.txt",
    )
    official: Mapping[str, int] = {"train": 5994, "test": 5794}
    how_to_get: HowToGet = HowToGet(
        files={"CUB_200_2011.tgz": 1200},
        site="data.caltech.edu/records/65de6-vp158",
        layout="unpacked: it makes CUB_200_2011/ with images/ and the lists",
    )

    @classmethod
    def sample(cls) -> WriteSample:
        from bench.data.scenes.listed import write_cub

        return write_cub

    def class_names(self, root: Path) -> list[str]:
        rows = read_table(root / "classes.txt", "list", "NUMBER NAME")
        if [n for n, _ in rows] != [str(i + 1) for i in range(len(rows))]:
            raise BadData(
                f"{root / 'classes.txt'} does not count from 1; unpack the archive again"
            )
        return [name for _, name in rows]

    def members(self, root: Path, part: str, classes: list[str]) -> list[Member] | None:
        if part not in PARTS:
            raise self.no_list(part, PARTS)
        images = self._column(root, "images.txt")
        labels, splits = (
            self._column(root, f) for f in ("image_class_labels.txt", "train_test_split.txt")
        )
        for name, column in (("image_class_labels.txt", labels), ("train_test_split.txt", splits)):
            if column.keys() != images.keys():
                raise BadData(
                    f"{root / name} and images.txt list other images; unpack the archive again"
                )
        return [
            Member(n, f"images/{image}", number(labels[n], root / "image_class_labels.txt") - 1)
            for n, image in images.items()
            if splits[n] == PARTS[part]
        ]

    def _column(self, root: Path, name: str) -> dict[int, str]:
        rows = read_table(root / name, "list", "NUMBER VALUE")
        return {number(n, root / name): value for n, value in rows}
