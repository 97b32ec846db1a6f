"""Stages that do little, and engines that make them."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from bench.contracts.context import StageContext
from bench.core.params import Runtime
from bench.core.progress import Advance, Progress
from bench.core.stage import Stage
from bench.core.store import Store
from bench.launch import memory
from bench.launch.local import LocalEngine
from bench.launch.parallel import ParallelEngine
from bench.launch.workers import Slot
from bench.plan.cell import Cell, PlannedCell
from tests.core import runners
from tests.core.test_store import Heard
from tests.patience import HANG

RUNNERS = "tests.launch.toys"


def toy(
    name: str, inputs: dict[str, Stage] | None = None, run: str = "write", **params: Any
) -> Stage:
    return Stage("toy", name, 1, params, f"{RUNNERS}:{run}", inputs or {})


def cell_of(final: Stage | None, reason: str | None = None) -> PlannedCell:
    return PlannedCell(
        Cell("byol", "image", "coco_det", "scenes", "scenes", "tiny", 0), final, "", reason
    )


def write(ctx: StageContext) -> None:
    runners.write(ctx)
    finish(ctx)


def fail(ctx: StageContext) -> None:
    runners.fail(ctx)


def finish(ctx: StageContext) -> None:
    """Any of these stages may be a cell's last."""
    (ctx.work / "metrics.json").write_text(json.dumps({"AP_bbox": 1.0}))


def sleep(ctx: StageContext) -> None:
    """Logs when it runs and what it may use. On a busy machine processes start far apart: the
    first waits until `meet` have begun."""
    started = time.time()
    here = ctx.runtime.home / "here"
    here.mkdir(exist_ok=True)
    (here / ctx.stage.name).touch()
    while (
        len(list(here.iterdir())) < int(ctx.params.get("meet", 1)) and time.time() < started + 30
    ):
        time.sleep(0.02)
    time.sleep(float(ctx.params["seconds"]))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    entry = {
        "from": started,
        "to": time.time(),
        "gpus": visible,
        "threads": os.environ["OMP_NUM_THREADS"],
    }
    entry["runtime"] = ctx.runtime.threads
    (ctx.work / "log.json").write_text(json.dumps(entry))
    finish(ctx)


def die(ctx: StageContext) -> None:
    """Dies so many times, then is done."""
    file = ctx.scratch / "count"
    n = int(file.read_text()) + 1 if file.exists() else 1
    file.write_text(str(n))
    if n <= int(ctx.params["times"]):
        os.kill(os.getpid(), getattr(signal, str(ctx.params.get("how", "SIGKILL"))))
        time.sleep(5)
    (ctx.work / "out.txt").write_text(str(n))
    finish(ctx)


def stubborn(ctx: StageContext) -> None:
    """Takes no notice of requests to stop."""
    (ctx.runtime.home / "pid").write_text(str(os.getpid()))
    until = time.monotonic() + HANG
    while time.monotonic() < until:
        try:
            time.sleep(1)
        except KeyboardInterrupt:
            continue


class Notes(Progress):
    """Keeps notes and bars."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.bars: list[tuple[str, int]] = []
        self.gone = 0

    def task(self, label: str, total: int, done: int = 0) -> Advance:
        self.bars.append((label, total))
        return lambda n=1, **figures: None

    def drop(self, advance: Advance) -> None:
        self.gone += 1

    def note(self, text: str) -> None:
        self.notes.append(text)


def engine(home: Path, slots: int | list[Slot] = 2, **runtime: Any) -> ParallelEngine:
    given = Runtime(home=home, database="sqlite://", tracker="none", **runtime)
    places = [Slot(1) for _ in range(slots)] if isinstance(slots, int) else slots
    return ParallelEngine(given, Store(home), Heard(), Notes(), slots=places)


@pytest.fixture(autouse=True)
def small_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """These stages are small, and other tests may fill the machine."""
    monkeypatch.setattr(memory, "UNKNOWN_MIB", 64)


def heard(made: LocalEngine) -> list[tuple[str, str | None]]:
    return made.listener.states  # type: ignore[attr-defined, no-any-return]


def notes(made: LocalEngine) -> list[str]:
    return made.progress.notes  # type: ignore[attr-defined, no-any-return]


def read_note(ctx: StageContext) -> None:
    """Writes for which cells its own note says that it is made."""
    from bench.core.running import list_work

    notes = {work["stage"]["key"]: work["cells"] for _, work in list_work(ctx.work.parents[1])}
    (ctx.work / "out.txt").write_text(" ".join(sorted(notes[ctx.stage.key])))
    finish(ctx)
