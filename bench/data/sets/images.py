"""A folder of images, or one image, without annotations."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from bench.data.base import Data, HowToGet, ImageSet, Objects
from bench.data.image import read_rgb
from bench.data.index import IndexedImages, Row, write_index
from bench.data.runner import parallel
from bench.engine.context import StageContext
from bench.errors import BadData
from bench.params import Runtime, digest
from bench.stage import Stage
from bench.store import write_json

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}


class Images(Data):
    """Every image file under a folder, at any depth, in the order of their paths; or a single file.

    The only split is train. Ids count from 1 in that order. There are no annotations: crops and tasks that
    need them say so.
    """

    splits: ClassVar[tuple[str, ...]] = ("train",)
    how_to_get: ClassVar[HowToGet] = HowToGet(
        layout="any folder with images",
    )
    sample: ClassVar[str] = "bench.data._scenes_boxes:write_images"

    @classmethod
    def default_place(cls) -> Path | None:
        return None

    def stage(self, root: Path | None, runtime: Runtime) -> Stage:
        root = self.place(root)
        files = _files(root)
        base = _base(root)
        listing = [[str(f.relative_to(base)), f.stat().st_size] for f in files]
        stage = Stage(
            "data", self.name, self.version,
            {"params": self.params.identity(), "fingerprint": digest(listing)}, "bench.data.runner:run",
        )  # fmt: skip
        runtime.roots[stage.key] = root
        return stage

    def run(self, ctx: StageContext) -> None:
        root = ctx.runtime.roots[ctx.stage.key]
        files, base = _files(root), _base(root)
        advance = ctx.progress.task("check images", len(files))
        rows: list[Row] = []
        bad: list[str] = []
        for number, (file, size) in enumerate(
            zip(files, parallel(_size, files, ctx.runtime.workers), strict=True), 1
        ):
            advance(1)
            if isinstance(size, str):
                bad.append(size)
            else:
                rows.append(Row(number, str(file.relative_to(base)), size))
        if bad:
            raise BadData.of(bad)
        write_index(ctx.work / "train", [], rows)
        write_json(ctx.work / "report.json", {"train": {"images": len(rows)}})

    def load(self, folder: Path, root: Path, split: str) -> ImageSet:
        if split != "train":
            raise BadData(f"data 'images' has the split train only, not {split!r}")
        return _Unlabelled(self.name, split, folder / "train", _base(root))


class _Unlabelled(IndexedImages):
    def objects(self, index: int) -> Objects:
        raise BadData("data 'images' has no annotations; try: --data coco=PATH or --data scenes")


def _base(root: Path) -> Path:
    return root if root.is_dir() else root.parent


def _files(root: Path) -> list[Path]:
    if root.is_file():
        return [root]
    found = sorted(f for f in root.rglob("*") if f.suffix.lower() in SUFFIXES and f.is_file())
    if not found:
        raise BadData(f"no image under {root}; try: --data images=FOLDER")
    return found


def _size(file: Path) -> tuple[int, int] | str:
    try:
        height, width = read_rgb(file).shape[:2]
    except BadData as error:
        return str(error)
    return width, height
