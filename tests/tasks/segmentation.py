"""Scenes with masks of pixels in memory, and a stage context, for the tests of segmentation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bench.contracts.context import StageContext
from bench.contracts.registry import load
from bench.core.params import Runtime
from bench.core.stage import Stage
from tests.small_set import SmallSet

TASKS = ("cityscapes_seg", "cityscapes_fcn", "voc12_seg", "camvid_seg")
MICRO = {
    "iterations": 6,
    "batch_size": 2,
    "crop": (48, 64),
    "short": 48,
    "width": 16,
    "aux_width": 8,
    "window": (32, 32),
    "stride": (24, 24),
}


def micro(task: str = "voc12_seg", **changes: Any) -> Any:
    """The params of a task cut down to a few steps."""
    more = {"mask": (11, 15)} if task == "cityscapes_seg" else {}
    cls: Any = load("task", task)
    return cls.resolve("tiny", {**MICRO, **more, **changes}).params


class Pixels(SmallSet):
    """Scenes with their objects as masks of pixels; `without`: positions that have none."""

    def __init__(self, folder: Path, n: int, without: tuple[int, ...] = (), **more: Any) -> None:
        super().__init__(folder, n, **more)
        self.without = without

    def has_semantic(self) -> np.ndarray:
        return ~np.isin(np.arange(len(self)), self.without)

    def semantic(self, index: int) -> np.ndarray | None:
        if index in self.without:
            return None
        found = np.zeros(self.masks[index].shape[1:], np.uint8)
        for label, mask in zip(self.labels[index], self.masks[index], strict=True):
            found[mask] = label + 1
        return found


def context(folder: Path, seconds: float = 1e9, seed: int = 0) -> StageContext:
    folder.mkdir(exist_ok=True)
    runtime = Runtime(home=folder, database="sqlite://", workers=0, checkpoint_seconds=seconds)
    return StageContext(Stage("evaluate", "voc12_seg", 1, {"seed": seed}, ""), folder, {}, runtime)
