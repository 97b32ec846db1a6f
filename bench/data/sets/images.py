"""A folder of images, or one image, without annotations."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from bench.contracts.context import StageContext
from bench.contracts.data import Data, HowToGet, WriteSample
from bench.contracts.images import ImageSet, Objects
from bench.core.errors import BadData
from bench.core.files import write_json
from bench.core.image import check_image
from bench.core.params import Runtime, digest
from bench.core.stage import Stage
from bench.data.findings import find_repeated
from bench.data.index import IndexedImages, Row, write_index
from bench.data.runner import read_splits
from bench.data.walk import Walk, walk_images


class Images(Data):
    """Every image file under a folder, at any depth,
    in the order of their paths; or a single file.

    Links to folders are followed, hidden names are skipped, other files are counted. The only
    split is train. Ids count from 1 in that order. There are no annotations: crops and
    tasks that need them say so.
    """

    version = 2  # links to folders are followed, hidden names are not read, floats are scaled
    splits = ("train",)
    how_to_get = HowToGet(
        layout="any folder with images",
    )

    @classmethod
    def annotations(cls) -> frozenset[str]:
        return frozenset()

    @classmethod
    def sample(cls) -> WriteSample:
        from bench.data.scenes.boxes import write_images

        return write_images

    @classmethod
    def default_place(cls) -> Path | None:
        return None

    def stage(self, root: Path | None, runtime: Runtime) -> Stage:
        root = self.place(root)
        base = _base(root)
        listing = [[name, (base / name).stat().st_size] for name in _walk(root).files]
        return self.make_stage(root, runtime, fingerprint=digest(listing))

    def run(self, ctx: StageContext) -> None:
        root = ctx.runtime.roots[ctx.stage.key]
        walk = _walk(root)
        listed = list(enumerate(walk.files, 1))
        rows = read_splits(ctx, partial(_read_row, _base(root)), {"train": listed})["train"]
        write_index(ctx.work / "train", [], rows)
        remarks = walk.remarks() + find_repeated({"train": rows})["train"]
        write_json(ctx.work / "report.json", {"train": {"images": len(rows), "remarks": remarks}})

    def open_split(self, index: Path, root: Path, split: str) -> ImageSet:
        return _Unlabelled(self.name, split, index, _base(root))


class _Unlabelled(IndexedImages):
    def objects(self, index: int) -> Objects:
        raise BadData("data 'images' has no annotations; try: --data coco=PATH or --data scenes")


def _base(root: Path) -> Path:
    return root if root.is_dir() else root.parent


def _walk(root: Path) -> Walk:
    if root.is_file():
        return Walk([root.name])
    walk = walk_images(root) if root.is_dir() else Walk()
    if not walk.files:
        raise BadData(f"no image under {root}; try: --data images=FOLDER")
    return walk


def _read_row(base: Path, listed: tuple[int, str]) -> Row | str:
    number, name = listed
    try:
        checked = check_image(base / name)
    except BadData as error:
        return str(error)
    return Row(number, name, checked.size, mark=checked.mark)
