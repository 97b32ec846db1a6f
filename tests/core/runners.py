"""Cheap stages for tests of the store and the engine."""

from __future__ import annotations

import os
import signal
import time
import weakref
from pathlib import Path

from bench.contracts.context import StageContext
from bench.core.errors import BadData
from bench.core.stage import Stage


def stage(
    name: str, inputs: dict[str, Stage] | None = None, run: str = "write", **params: object
) -> Stage:
    return Stage("toy", name, 1, dict(params), f"tests.core.runners:{run}", inputs or {})


def write(ctx: StageContext) -> None:
    """Write its name and its inputs' texts; note each run in a file outside the store."""
    parts = [(folder / "out.txt").read_text() for _, folder in sorted(ctx.inputs.items())]
    (ctx.work / "out.txt").write_text(f"{ctx.stage.name}({','.join(parts)})")
    log = ctx.params.get("log")
    if log:
        time.sleep(float(ctx.params.get("sleep", 0)))
        with open(Path(str(log)), "a") as f:
            f.write(ctx.stage.name + "\n")


def fail(ctx: StageContext) -> None:
    raise ValueError("on\npurpose")


class Held:
    """What a stage holds while it runs, as a loader with processes."""


HELD: list[weakref.ref[Held]] = []


def hold_and_fail(ctx: StageContext) -> None:
    held = Held()
    HELD.append(weakref.ref(held))
    raise ValueError("while it holds something")


def bad_data(ctx: StageContext) -> None:
    raise BadData("image 3.jpg does not decode; download it again")


def count_and_die(ctx: StageContext) -> None:
    """Counts to 3 in its scratch folder; kills its process after each step until it is there."""
    file = ctx.scratch / "count"
    n = int(file.read_text()) + 1 if file.exists() else 1
    file.write_text(str(n))
    if n < 3:
        os.kill(os.getpid(), signal.SIGKILL)
    (ctx.work / "out.txt").write_text(str(n))
