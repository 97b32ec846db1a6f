"""What the suite's files share: which components, how small, and who listens."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from bench.contracts import registry
from bench.core.errors import unknown
from bench.core.params import Runtime
from bench.core.progress import Advance, Progress
from bench.core.store import Store
from bench.launch.local import LocalEngine, Silent
from bench.plan.cell import Cell
from bench.plan.planner import Planner

CHOSEN = "BENCH_CHECK"  # the components to look at: KIND:NAME, separated by commas; none: all
DATA = "BENCH_CHECK_DATA"  # NAME=PATH of sets that bring no sample of their own
Component = tuple[str, str]  # kind and name
PLAINEST = "byol"  # the method that crops are trained with
SMALL = {
    "epochs": 1,
    "batch_size": 4,
    "warmup_epochs": 0,
    "image_size": 32,
    "patch": 32,
    "roi_size": 32,
}


def find_components(names: Iterable[str]) -> list[Component]:
    """The components that NAME or KIND:NAME stand for, every one where there is none; BadInput
    with the nearest name for an unknown one."""
    every = sorted(registry.entries())
    chosen: list[Component] = []
    for text in filter(None, names):
        kind, _, name = text.rpartition(":")
        hits = [c for c in every if c[1] == name and kind in ("", c[0])]
        if not hits:
            known = {n for k, n in every if kind in ("", k)} or {n for _, n in every}
            raise unknown(kind or "component", name, known, "bench list")
        chosen += hits
    return chosen or every


def chosen(kind: str = "") -> list[Component]:
    """The components that this run looks at, of one kind or of all."""
    every = find_components(os.environ.get(CHOSEN, "").split(","))
    return [c for c in every if kind in ("", c[0])]


def chosen_names(kind: str) -> list[str]:
    """The names of the chosen components of one kind."""
    return [name for _, name in chosen(kind)]


def parse_places() -> dict[str, Path]:
    """The folders of `DATA`, by the set's name."""
    pairs = (text.partition("=") for text in os.environ.get(DATA, "").split(os.pathsep) if text)
    return {name: Path(path) for name, _, path in pairs}


def overrides() -> tuple[tuple[str, str], ...]:
    """Every method cut down to a few steps, by the fields it has, of a ResNet-18 of quarter width
    where it has one; a dozen scenes, and two crops of each where a crop has several."""
    settings = [("scenes.n_train", "12"), ("scenes.n_val", "4")]
    methods, _ = registry.load_all("method")
    for name, method in methods.items():
        fields = method.Params.model_fields
        settings += [(f"{name}.{f}", str(v)) for f, v in SMALL.items() if f in fields]
        if getattr(method.resolve("tiny").params, "backbone", None) == "resnet18":
            settings.append((f"{name}.backbone", "resnet18_quarter"))
    crops, _ = registry.load_all("crop")
    for name, cls in crops.items():
        crop: Any = cls
        if crop.style == "pseudo" and "n_crops" in crop.Params.model_fields:
            settings.append((f"{name}.n_crops", "2"))
    return tuple(settings)


def make_runtime(home: Path, **fields: Any) -> Runtime:
    """One process on the CPU, that tells nobody."""
    fixed = {"database": "sqlite://", "workers": 0, "tracker": "none", "devices": "cpu"}
    return Runtime(home=home, **{**fixed, **fields})


def make_engine(runtime: Runtime) -> LocalEngine:
    return LocalEngine(runtime, Store(runtime.home), Silent())


def make_planner(
    runtime: Runtime, method: str, crop: str, settings: Iterable[tuple[str, str]]
) -> Planner:
    """The planner of a cell on generated scenes."""
    cell = Cell(method, crop, "coco_det", "scenes", "scenes", "tiny", 0, tuple(settings))
    return Planner(cell, runtime)


class Watch(Progress):
    """Counts the steps of a training; calls `at[step]` when that many are done."""

    def __init__(self, at: dict[int, Callable[[], None]] | None = None) -> None:
        self.at, self.count, self.started_at = dict(at or {}), 0, -1

    def task(self, label: str, total: int, done: int = 0) -> Advance:
        self.count = self.started_at = done

        def advance(n: int = 1, **figures: float | str) -> None:
            self.count += n
            if self.count in self.at:
                self.at.pop(self.count)()

        return advance
