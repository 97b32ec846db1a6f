"""Data with a validation part: the training images alone, divided by a stated rule, and no test images.

Order the ids of the split "train" by sha256("holdout <id>"): the first `share` of them, rounded, are "val",
the others "train", each in the order the set has them. The rule knows no seed: every cell that asks for the
same share of the same data is scored on the same images.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import numpy as np

from bench.data.base import Data, ImageSet, Objects
from bench.engine.context import StageContext
from bench.errors import BadData
from bench.params import Runtime
from bench.stage import Stage

VERSION = 1  # of the rule
RECORDS = {"stage.json", "provenance.json", "done"}  # of a stage's folder, beside its files


class Subset(ImageSet):
    """Some images of a split, at `positions` (n,), under the name of another split."""

    def __init__(self, images: ImageSet, positions: np.ndarray, split: str) -> None:
        self.images, self.positions = images, positions
        self.name, self.split, self.classes = images.name, split, images.classes
        self.keypoint_names, self.background = images.keypoint_names, images.background
        self.ids, self.sizes = images.ids[positions], images.sizes[positions]

    def file(self, index: int) -> Path:
        return self.images.file(int(self.positions[index]))

    def objects(self, index: int) -> Objects:
        return self.images.objects(int(self.positions[index]))

    def semantic(self, index: int) -> np.ndarray | None:
        return self.images.semantic(int(self.positions[index]))

    def image(self, index: int) -> np.ndarray:
        return self.images.image(int(self.positions[index]))

    def has_semantic(self) -> np.ndarray:
        return np.asarray(self.images.has_semantic()[self.positions])

    def image_class(self) -> np.ndarray | None:
        classes = self.images.image_class()
        return None if classes is None else np.asarray(classes[self.positions])


def held_out(data: Stage, share: float, runtime: Runtime) -> Stage:
    """The data stage whose "val" is `share` of the training images of `data` and whose "train" the others."""
    params = {"params": data.params["params"], "holdout": share}
    made = Stage("data", data.name, VERSION, params, "bench.data.holdout:run", {"data": data})
    runtime.roots[made.key] = runtime.roots[data.key]
    return made


def run(ctx: StageContext) -> None:
    """The files of the undivided data, linked where the file system can: `load_part` divides them."""
    source = ctx.inputs["data"]
    for file in sorted(p for p in source.rglob("*") if p.is_file()):
        name = file.relative_to(source)
        if str(name) not in RECORDS:
            target = ctx.work / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)  # of an interrupted try
            _link(file, target)


def _link(file: Path, target: Path) -> None:
    try:
        os.link(file, target)
    except OSError:
        shutil.copyfile(file, target)


def load_part(data: Data, folder: Path, root: Path, split: str, share: float) -> ImageSet:
    """The part of the training images that is called `split`: "train" or "val"."""
    if split not in ("train", "val"):
        raise BadData(f"{data.name} with a validation part has the splits train and val, not {split!r}")
    images = data.load(folder, root, "train")
    held = chosen(images.ids, share)
    return Subset(images, np.flatnonzero(held if split == "val" else ~held), split)


def chosen(ids: np.ndarray, share: float) -> np.ndarray:
    """(N,) bool: the images that are held out, at least one, and at least one is not."""
    if len(ids) < 2:
        raise BadData(f"{len(ids)} training image cannot be divided; use data with more")
    marks = [hashlib.sha256(f"holdout {int(i)}".encode()).digest() for i in ids]
    order = sorted(range(len(ids)), key=marks.__getitem__)
    found = np.zeros(len(ids), bool)
    found[order[: min(max(round(share * len(ids)), 1), len(ids) - 1)]] = True
    return found
