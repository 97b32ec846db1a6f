"""CIFAR-10 as one .npz of JPEGs: 50,000 + 10,000 images of 32 x 32 pixels, 10 classes."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from bench.contracts.context import StageContext
from bench.contracts.data import HowToGet, WriteSample
from bench.contracts.images import ImageSet
from bench.core.errors import BadData
from bench.core.image import decode_rgb
from bench.core.params import Runtime
from bench.core.stage import Stage
from bench.core.store import write_json
from bench.data.files import fingerprint
from bench.data.index import Row, write_index
from bench.data.layouts.labelled import ClassifiedImages, Contents, Labelled

SPLITS = {"train": "train", "val": "test"}


class Cifar10(Labelled):
    """CIFAR-10 (Krizhevsky 2009), re-encoded as JPEG (slightly lossy) in one file; val is its test
    set.

    `<split>_jpeg`: the bytes of all images, one after another, uint8; `<split>_offsets`: (n + 1,)
    where each begins; `<split>_labels`: (n,), split train or test; `classes`: names. The path is
    the file or its folder."""

    how_to_get = HowToGet(
        files={"cifar-10-python.tar.gz": 163},
        site="Alex Krizhevsky's page at cs.toronto.edu",
        layout="and write each split as the arrays that `bench/data/sets/cifar10.py` names to "
        "cifar10_jpeg.npz (about 50 MB)",
    )
    official = {"train": 50_000, "val": 10_000}

    @classmethod
    def sample(cls) -> WriteSample:
        from bench.data.scenes.layouts import write_cifar10

        return write_cifar10

    def contents(self, root: Path) -> Contents:
        raise NotImplementedError  # the images lie in one file, not in many

    def _file(self, given: Path | None) -> Path:
        place = self.root(given)
        file = place / "cifar10_jpeg.npz" if place.is_dir() else place
        if not file.is_file():
            raise BadData(f"{place} has no cifar10_jpeg.npz; get {self.how_to_get}")
        return file

    def stage(self, root: Path | None, runtime: Runtime) -> Stage:
        file = self._file(root)
        return self.make_stage(
            file, runtime, fingerprint=fingerprint([file], [], runtime.home / "cache")
        )

    def run(self, ctx: StageContext) -> None:
        file = ctx.runtime.roots[ctx.stage.key]
        report = {}
        for split, name in SPLITS.items():
            content, offsets, labels, classes = _arrays(file, name)
            rows = []
            advance = ctx.progress.task(f"check {split}", len(labels))
            for i, label in enumerate(labels.tolist()):
                height, width = decode_rgb(
                    _bytes(content, offsets, i), f"{name} {i} of {file}"
                ).shape[:2]
                rows.append(Row(i + 1, "", (width, height), label=label))
                advance(1)
            write_index(ctx.work / split, classes, rows)
            np.save(ctx.work / split / "jpeg.npy", content)
            np.save(ctx.work / split / "jpeg_at.npy", offsets)
            report[split] = {"images": len(rows), "classes": len(set(labels.tolist()))}
        write_json(ctx.work / "report.json", report)

    def open_split(self, index: Path, root: Path, split: str) -> ImageSet:
        return PackedImages(self.name, split, index, root)


class PackedImages(ClassifiedImages):
    """Images whose JPEG bytes lie in one memory-mapped array."""

    def file(self, index: int) -> Path:
        raise BadData(
            f"the images of {self.name} have no files of their own; they lie in {self.root}"
        )

    def image(self, index: int) -> np.ndarray:
        return decode_rgb(self._slice("jpeg", index), f"{index} of {self.root}")


def _bytes(content: np.ndarray, offsets: np.ndarray, index: int) -> bytes:
    return content[offsets[index] : offsets[index + 1]].tobytes()


def _arrays(file: Path, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """JPEG bytes, offsets, labels and class names of a split; BadData unless they fit together."""
    try:
        with np.load(file) as arrays:
            found: dict[str, Any] = {
                k: arrays[f"{name}_{k}"] for k in ("jpeg", "offsets", "labels")
            }
            classes = [str(c) for c in arrays["classes"]]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise BadData(
            f"{file} is damaged or no .npz of CIFAR-10 ({error}); make it again"
        ) from None
    content, offsets = found["jpeg"], found["offsets"].astype(np.int64)
    labels = found["labels"].astype(np.int64)
    whole = len(offsets) == len(labels) + 1 and offsets[0] == 0 and offsets[-1] == len(content)
    if (
        not whole
        or not (np.diff(offsets) > 0).all()
        or not ((labels >= 0) & (labels < len(classes))).all()
    ):
        raise BadData(f"{file}: offsets and labels of {name} do not fit its images; make it again")
    return content, offsets, labels, classes
