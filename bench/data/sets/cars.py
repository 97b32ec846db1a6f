"""Stanford Cars in its official layout: 196 makes, models and years, about 40 training images
each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from bench.contracts.data import HowToGet, WriteSample
from bench.core.errors import BadData
from bench.data.layouts.listed import ListedSet, Member, number, read_mat

TEST = "cars_test_annos_withlabels.mat"
# list -> folder of its images, places of its annotations, what is added to a number for its id
PARTS = {
    "train": ("cars_train", ("devkit/cars_train_annos.mat",), 0),
    "test": ("cars_test", (TEST, f"devkit/{TEST}"), 1_000_000),
}


class Cars(ListedSet):
    """Stanford Cars (Krause et al. 2013): `cars_train/`, `cars_test/`, `devkit/`, and the labels
    of the test images, `cars_test_annos_withlabels.mat`, beside `devkit/` or in it.

    train has 8,144 images, val, the test images, 8,041; without the labels of the test images
    there is no val. Ids are the numbers of the files, of test images plus 1,000,000. Boxes are not
    read.
    """

    folder: str = "stanford_cars"
    marks: tuple[str, ...] = ("cars_train", "devkit/cars_meta.mat", "devkit/cars_train_annos.mat")
    official: Mapping[str, int] = {"train": 8144, "test": 8041}
    how_to_get: HowToGet = HowToGet(
        files={
            "cars_train.tgz": 900,
            "cars_test.tgz": 900,
            "car_devkit.tgz": 0,
            "cars_test_annos_withlabels.mat": 0,
        },
        site="the authors (their page, ai.stanford.edu/~jkrause/cars, no longer serves them, so ask for a "
        "copy with these names)",
        layout="all in one folder stanford_cars/: cars_train/, cars_test/, devkit/ and the .mat file",
    )

    @classmethod
    def sample(cls) -> WriteSample:
        from bench.data.scenes.listed import write_cars

        return write_cars

    def class_names(self, root: Path) -> list[str]:
        (names,) = read_mat(root / "devkit/cars_meta.mat", "class_names")
        return [str(name) for name in np.atleast_1d(names)]

    def members(self, root: Path, part: str, classes: list[str]) -> list[Member] | None:
        if part not in PARTS:
            raise self.no_list(part, PARTS)
        folder, places, first = PARTS[part]
        file = next((root / place for place in places if (root / place).is_file()), None)
        if file is None:
            return None
        (rows,) = read_mat(file, "annotations")
        found = []
        for row in np.atleast_1d(rows):
            if not isinstance(row, dict) or not {"fname", "class"} <= row.keys():
                raise BadData(
                    f"{file} has an annotation without fname and class; get the one with labels"
                )
            name = str(row["fname"])
            found.append(
                Member(
                    first + number(Path(name).stem, file),
                    f"{folder}/{name}",
                    number(row["class"], file) - 1,
                )
            )
        return found
