"""Places205 in its official layout:
images256/ and the CSV lists of train and val, 205 scene classes."""

from __future__ import annotations

from pathlib import Path

from bench.contracts.data import HowToGet, WriteSample
from bench.core.errors import BadData
from bench.data.layouts.labelled import Contents, Labelled, Listed, read_text

LISTS = {"train": "train_places205.csv", "val": "val_places205.csv"}
IMAGES = ("images256", "data/vision/torralba/deeplearning/images256")


class Places205(Labelled):
    """Places205 (Zhou et al. 2014): 2,448,873 training and 20,500
    validation images, short side 256.

    Lists: `trainvalsplit_places205/{train,val}_places205.csv` (or beside the images), a line
    `a/abbey/gsun_0003.jpg 0` each. Images: `images256/`, also under the long path of the archive.
    Ids are line numbers. A class is named by the folder of its first image.
    """

    version = 2  # the orientation in XMP counts for sizes as it does for pixels
    how_to_get = HowToGet(
        files={"imagesPlaces205_resize.tar.gz": 126_000, "trainvalsplit_places205.tar.gz": 57},
        site="places.csail.mit.edu",
        layout=(
            "both unpacked in one folder: images256/ (a longer path will do) "
            "and trainvalsplit_places205/"
        ),
    )
    official = {"train": 2_448_873, "val": 20_500}

    @classmethod
    def sample(cls) -> WriteSample:
        from bench.data.scenes.layouts import write_places205

        return write_places205

    def contents(self, root: Path) -> Contents:
        images = next((name for name in IMAGES if (root / name).is_dir()), None)
        if images is None:
            raise BadData(f"{root} has no folder images256/; get {self.how_to_get}")
        names: dict[int, str] = {}
        splits = {}
        for split, name in LISTS.items():
            file = next(
                (f for f in (root / "trainvalsplit_places205" / name, root / name) if f.is_file()),
                None,
            )
            if file is None and split == "val":
                continue
            splits[split] = _read(file or root / name, images, names, self.how_to_get)
        if sorted(names) != list(range(len(names))):
            raise BadData(f"the lists of {root} skip a class number; get {self.how_to_get}")
        return Contents([names[c] for c in sorted(names)], splits)


def _read(file: Path, images: str, names: dict[int, str], get: HowToGet) -> list[Listed]:
    listed = []
    for number, line in enumerate(read_text(file, get), 1):
        path, _, label = line.replace(",", " ").strip().rpartition(" ")
        if not path or not label.isdigit():
            raise BadData(f"{file} line {number} is {line[:60]!r}, not IMAGE CLASS; get {get}")
        names.setdefault(int(label), path.strip().lstrip("/").rpartition("/")[0])
        listed.append(Listed(number, f"{images}/{path.strip().lstrip('/')}", int(label)))
    return listed
