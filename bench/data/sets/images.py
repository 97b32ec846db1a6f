"""A folder of images, or one image, without annotations."""

from __future__ import annotations

from pathlib import Path

from bench.contracts.context import StageContext
from bench.contracts.data import Data, HowToGet, WriteSample
from bench.contracts.images import ImageSet, Objects
from bench.core.errors import BadData
from bench.core.files import write_json
from bench.core.image import read_rgb
from bench.core.params import Runtime, digest
from bench.core.stage import Stage
from bench.data.index import IndexedImages, Row, write_index
from bench.data.runner import read_splits

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}


class Images(Data):
    """Every image file under a folder, at any depth,
    in the order of their paths; or a single file.

    The only split is train. Ids count from 1 in that order. There are no annotations: crops and
    tasks that need them say so.
    """

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
        files = _files(root)
        base = _base(root)
        listing = [[str(f.relative_to(base)), f.stat().st_size] for f in files]
        return self.make_stage(root, runtime, fingerprint=digest(listing))

    def run(self, ctx: StageContext) -> None:
        root = ctx.runtime.roots[ctx.stage.key]
        sizes = read_splits(ctx, _size, {"train": _files(root)})["train"]
        names = [str(file.relative_to(_base(root))) for file in _files(root)]
        rows = [
            Row(n, name, size) for n, (name, size) in enumerate(zip(names, sizes, strict=True), 1)
        ]
        write_index(ctx.work / "train", [], rows)
        write_json(ctx.work / "report.json", {"train": {"images": len(rows)}})

    def open_split(self, index: Path, root: Path, split: str) -> ImageSet:
        return _Unlabelled(self.name, split, index, _base(root))


class _Unlabelled(IndexedImages):
    def objects(self, index: int) -> Objects:
        raise BadData("data 'images' has no annotations; try: --data coco=PATH or --data scenes")


def _base(root: Path) -> Path:
    return root if root.is_dir() else root.parent


def _files(root: Path) -> list[Path]:
    if root.is_file():
        return [root]
    files = sorted(f for f in root.rglob("*") if f.suffix.lower() in SUFFIXES and f.is_file())
    if not files:
        raise BadData(f"no image under {root}; try: --data images=FOLDER")
    return files


def _size(file: Path) -> tuple[int, int] | str:
    try:
        height, width = read_rgb(file).shape[:2]
    except BadData as error:
        return str(error)
    return width, height
