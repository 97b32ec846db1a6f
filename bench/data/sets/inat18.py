"""iNaturalist 2018 in its official layout: train_val2018/ and train2018.json,
val2018.json, 8,142 species."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.contracts.data import HowToGet, WriteSample
from bench.core.errors import BadData
from bench.data.files import read_json
from bench.data.layouts.labelled import Contents, Labelled, Listed


class Inat18(Labelled):
    """iNaturalist 2018 (Van Horn et al. 2018): 437,513 training and 24,426 validation images.

    Ids are the image ids of the JSON files; labels are the categories in ascending id. Sizes in
    the JSON are not read.
    """

    version = 2  # the orientation in XMP counts for sizes as it does for pixels
    how_to_get = HowToGet(
        files={
            "train_val2018.tar.gz": 120_000,
            "train2018.json.tar.gz": 26,
            "val2018.json.tar.gz": 0,
        },
        site=(
            "the iNaturalist competition 2018 "
            "(the inat_comp repository of visipedia names the links)"
        ),
        layout="all unpacked in one folder: train_val2018/, train2018.json, val2018.json",
    )
    official = {"train": 437_513, "val": 24_426}

    @classmethod
    def sample(cls) -> WriteSample:
        from bench.data.scenes.layouts import write_inat18

        return write_inat18

    def contents(self, root: Path) -> Contents:
        tables = {}
        for split in ("train", "val"):
            file = root / f"{split}2018.json"
            if split == "train" or file.is_file():
                tables[split] = self._table(file)
        categories = {
            int(c["id"]): str(c["name"]) for t in tables.values() for c in t["categories"]
        }
        label = {c: i for i, c in enumerate(sorted(categories))}
        splits = {
            split: _listed(root / f"{split}2018.json", t, label) for split, t in tables.items()
        }
        return Contents([categories[c] for c in sorted(categories)], splits)

    def _table(self, file: Path) -> dict[str, Any]:
        content = read_json(file, "iNaturalist annotations")
        if not isinstance(content, dict) or not {"images", "annotations", "categories"} <= set(
            content
        ):
            raise BadData(f"{file} lacks images, annotations or categories; get {self.how_to_get}")
        return content


def _listed(file: Path, table: dict[str, Any], label: dict[int, int]) -> list[Listed]:
    try:
        of = {int(a["image_id"]): label[int(a["category_id"])] for a in table["annotations"]}
        images = {int(i["id"]): str(i["file_name"]) for i in table["images"]}
        return [Listed(i, images[i], of[i]) for i in sorted(images)]
    except (KeyError, TypeError, ValueError) as error:
        raise BadData(
            f"{file}: an image lacks its annotation, "
            f"category or file name ({error}); download it again"
        ) from None
