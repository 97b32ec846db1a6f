"""A small matrix of cheap stages, and a command that makes it: what fault injection is done to.

`command` makes it, with fields of the runtime as options. Every step of a stage is logged before
its checkpoint is written, in a file that is only ever appended to. With `DRIVER`, a name, in its
environment, a driver signs the stages that it makes; with `DRIVERS`, a number, trainings wait
until so many make one.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any
from unittest.mock import patch

from bench.contracts.context import StageContext
from bench.core.params import Runtime
from bench.core.stage import Stage
from bench.plan.cell import Cell, Plan, PlannedCell
from tests.processes import children

SECONDS = 0.08  # of a step


def plan(cells: int, steps: int = 16, mib: float = 0.0) -> Plan:
    """`cells` cells, each a training and an evaluation, on the same data."""
    runner = "tests.e2e.faults:count"
    data = Stage("data", "scenes", 1, {"steps": 2}, runner)
    found = []
    for seed in range(cells):
        params = {"seed": seed, "method": {}, "steps": steps, "mib": mib}
        backbone = Stage("pretrain", "byol", 1, params, runner, {"data": data})
        inputs = {"backbone": backbone, "data": data}
        final = Stage(
            "evaluate", "coco_det", 1, {"seed": seed, "steps": steps // 2}, runner, inputs
        )
        cell = Cell("byol", "image", "coco_det", "scenes", "scenes", "tiny", seed)
        found.append(PlannedCell(cell, final, "torchvision"))
    return Plan(found)


def count(ctx: StageContext) -> None:
    """Count to `steps`, with a checkpoint after each; the result digests all that went in."""
    driver = os.environ.get("DRIVER", "")
    if ctx.stage.kind == "pretrain":
        wait_for_drivers(ctx.runtime.home.parent / "drivers", driver)
    checkpoint = ctx.scratch / "step"
    done = int(checkpoint.read_text()) if checkpoint.exists() else 0
    total = int(ctx.params["steps"])
    advance = ctx.progress.task(ctx.stage.kind, total, done)
    with open(ctx.runtime.home.parent / "log", "a") as log:
        for step in range(done, total):
            time.sleep(SECONDS)
            log.write(f"{ctx.stage.key} {step}\n")
            log.flush()
            partial = checkpoint.with_suffix(".part")
            partial.write_text(str(step + 1))
            partial.replace(checkpoint)
            advance(1)
    (ctx.work / "driver").write_text(driver)
    (ctx.work / "large").write_bytes(b"x" * int(float(ctx.params.get("mib", 0)) * (1 << 20)))
    parts = [(folder / "out.txt").read_text() for _, folder in sorted(ctx.inputs.items())]
    text = hashlib.sha256("".join([ctx.stage.key, *parts]).encode()).hexdigest()
    (ctx.work / "out.txt").write_text(text)
    if ctx.stage.kind == "evaluate":
        (ctx.work / "metrics.json").write_text(json.dumps({"AP_bbox": int(text[:4], 16) / 655.36}))


def wait_for_drivers(folder: Path, driver: str, patience: float = 60.0) -> None:
    """Until `DRIVERS` drivers have a training of theirs in progress."""
    folder.mkdir(exist_ok=True)
    (folder / f"by {driver}").touch()
    end = time.monotonic() + patience
    while len(list(folder.iterdir())) < int(os.environ.get("DRIVERS", "1")):
        assert time.monotonic() < end, "the other driver makes nothing"
        time.sleep(0.05)


def main(home: str, database: str, *options: str) -> int:
    """The command."""
    from bench.cli._engine import open_engine
    from bench.launch import memory

    fields = dict(zip([o.removeprefix("--") for o in options[::2]], options[1::2], strict=True))
    size: dict[str, Any] = {
        n: json.loads(fields.pop(n)) for n in ("cells", "steps", "mib") if n in fields
    }
    runtime = Runtime.model_validate(
        {"home": Path(home), "database": database, "tracker": "none", **fields}
    )
    try:
        with patch.object(memory, "UNKNOWN_MIB", 64), open_engine(runtime) as (engine, _):
            outcome = engine.run(plan(**{"cells": 10, **size}))
    except KeyboardInterrupt:
        return 130
    for error in dict.fromkeys(map(str, outcome.errors.values())):
        print(error, file=sys.stderr)
    print(json.dumps({"made": len(outcome.made), "reused": len(outcome.reused)}))
    return 1 if outcome.errors else 0


def command(home: Path, database: str, **options: Any) -> list[str]:
    """The command line."""
    more = [x for name, value in options.items() for x in (f"--{name}", str(value))]
    code = "import sys; from tests.e2e.faults import main; sys.exit(main(*sys.argv[1:]))"
    return [sys.executable, "-c", code, str(home), database, *more]


def steps_logged(home: Path) -> Counter[str]:
    """How often each step was done."""
    return Counter((home.parent / "log").read_text().splitlines())


def steps_of(made: Plan) -> set[str]:
    """Every step there is to do."""
    return {f"{s.key} {n}" for s in made.stages for n in range(int(s.params["steps"]))}


def results(home: Path) -> dict[str, str]:
    """What each committed stage says."""
    return {str(f.parent.relative_to(home)): f.read_text() for f in home.glob("store/*/*/out.txt")}


def made_by(home: Path, driver: str) -> int:
    """How many committed stages a driver signed."""
    return sum(f.read_text() == driver for f in home.glob("store/*/*/driver"))


def server_of(driver: int) -> int | None:
    """The process that a driver's workers are forked from."""
    for pid in children(driver):
        try:
            if b"forkserver" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
        except OSError:
            continue
    return None


def workers_of(driver: int) -> list[int]:
    """The processes that make stages for a driver."""
    server = server_of(driver)
    return children(server) if server else []


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
