"""A tiny image set and a pretrain stage over it, for tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from bench.contracts import registry
from bench.contracts.context import StageContext
from bench.contracts.images import ImageSet
from bench.core.params import Runtime
from bench.core.progress import Progress
from bench.core.stage import Stage

TINY = {
    "backbone": "resnet18_quarter",
    "image_size": 32,
    "epochs": 2,
    "batch_size": 8,
    "lr": 0.4,
    "warmup_epochs": 1.0,
    "hidden": 32,
    "out": 16,
}


class Blobs(ImageSet):
    """`n` images of 48 x 40 pixels with smooth noise, on disk."""

    def __init__(self, folder: Path, n: int) -> None:
        self.folder, self.name, self.split, self.classes = folder, "blobs", "train", []
        self.ids = np.arange(n, dtype=np.int64)
        self.sizes = np.tile(np.array([48, 40], dtype=np.int32), (n, 1))
        folder.mkdir(exist_ok=True)
        rng = np.random.default_rng(0)
        for i in range(n):
            small = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
            cv2.imwrite(
                str(self.file(i)), cv2.resize(small, (48, 40), interpolation=cv2.INTER_CUBIC)
            )

    def file(self, index: int) -> Path:
        return self.folder / f"{index:04d}.png"


class Watch(Progress):
    """Counts steps, keeps notes, calls `at[step]` when that many steps are done."""

    def __init__(self, at: dict[int, Any] | None = None) -> None:
        self.at, self.count, self.notes = at or {}, 0, []  # type: ignore[var-annotated]
        self.started_at = -1

    def task(self, label: str, total: int, done: int = 0) -> Any:
        self.count = self.started_at = done

        def advance(n: int = 1, **figures: Any) -> None:
            self.count += n
            if self.count in self.at:
                self.at.pop(self.count)()

        return advance

    def note(self, text: str) -> None:
        self.notes.append(text)


@dataclass
class BlobContext(StageContext):
    """A context whose every split is `blobs`."""

    blobs: ImageSet = field(kw_only=True)

    def images(self, role: str, split: str) -> ImageSet:
        return self.blobs


def context(
    folder: Path,
    name: str = "run",
    *,
    n: int = 24,
    method: str = "byol",
    watch: Watch | None = None,
    runtime: dict[str, Any] | None = None,
    settings: dict[str, Any] | None = None,
    seed: int = 0,
) -> BlobContext:
    """A pretrain stage's context in `folder / name`; calling it again resumes."""
    cls = registry.load("method", method)
    known = {k: v for k, v in TINY.items() if k in cls.Params.model_fields}
    learner = cls(cls.Params(**{**known, **(settings or {})}))
    crop = registry.load("crop", "image").resolve("tiny")
    params = {
        "method": learner.identity(),
        "crop": crop.identity(),
        "split": "train",
        "seed": seed,
    }
    data = Stage("data", "blobs", 1, {}, "none:none")
    stage = Stage("pretrain", method, 1, params, "bench.stages.pretrain:run", {"data": data})
    work = folder / name
    work.mkdir(exist_ok=True)
    values = {
        "workers": 0,
        "threads": 1,
        "checkpoint_seconds": 0.0,
        "devices": "cpu",
        **(runtime or {}),
    }
    return BlobContext(
        stage,
        work,
        {"data": folder},
        Runtime(home=folder, database="", **values),
        watch or Watch(),
        blobs=Blobs(folder / "blobs", n),
    )
