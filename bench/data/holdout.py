"""Data with a validation part: the training images alone,
divided by a stated rule, and no test images.

The rule is that of `bench.contracts.data.choose_held_out`.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from bench.contracts.context import StageContext
from bench.core.params import Runtime
from bench.core.stage import Stage

VERSION = 1  # of the rule
RECORDS = {"stage.json", "provenance.json", "done"}  # of a stage's folder, beside its files


def hold_out(data: Stage, share: float, runtime: Runtime) -> Stage:
    """The data stage whose "val" is `share` of the training images of `data`
    and whose "train" the others."""
    params = {"params": data.params["params"], "holdout": share}
    divided = Stage("data", data.name, VERSION, params, "bench.data.holdout:run", {"data": data})
    runtime.roots[divided.key] = runtime.roots[data.key]
    return divided


def run(ctx: StageContext) -> None:
    """The files of the undivided data, linked where the file system can:
    `Data.load` divides them."""
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
