"""The first command cut down to seconds: the same stages on fewer images and steps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests import forked
from tests.patience import HANG

SETS = (
    "scenes.n_train=24",
    "scenes.n_val=8",
    "selective_search.max_side=96",
    "byol.backbone=resnet18_quarter",
    "byol.epochs=2",
    "byol.batch_size=8",
    "orl.backbone=resnet18_quarter",
    "orl.epochs=2",
    "orl.batch_size=8",
    "orl.neighbours=3",
    "coco_det.iterations=6",
    "coco_det.steps=4,5",
    "coco_det.precise_bn=2",
    "coco_det.warmup=2",
    "coco_det.sizes=64,64",
    "coco_det.test_size=64",
)


def words(*more: str, sets: tuple[str, ...] = SETS, verb: str = "run") -> list[str]:
    """The words of the command after `bench`."""
    options = [] if "--method" in more else ["--method", "orl"]
    options += [] if "--task" in more else ["--task", "coco_det"]
    return [verb, *options, *more, *(x for s in sets for x in ("--set", s))]


def command(*more: str, sets: tuple[str, ...] = SETS, verb: str = "run") -> list[str]:
    """The command in an interpreter of its own, as users start it."""
    base = [sys.executable, "-c", "from bench.cli import main; main()"]
    return [*base, *words(*more, sets=sets, verb=verb)]


def bench(*arguments: str, timeout: float = HANG) -> subprocess.CompletedProcess[str]:
    """Any bench command, in a terminal of 80 columns."""
    code = [sys.executable, "-c", "from bench.cli import main; main()", *arguments]
    env = {**os.environ, "COLUMNS": "80"}
    return subprocess.run(code, capture_output=True, text=True, timeout=timeout, env=env)


def wide_lines(text: str, columns: int = 80) -> list[str]:
    """The lines that a terminal would have to wrap; a path alone on its line is not broken."""
    return [x for x in text.splitlines() if len(x) > columns and len(x.split()) > 1]


def run(*more: str, sets: tuple[str, ...] = SETS) -> subprocess.CompletedProcess[str]:
    """The command in a forked process, without its imports."""
    return forked.run(*words(*more, sets=sets))


def metrics(home: Path) -> dict[str, dict[str, float]]:
    """The metrics of every evaluated stage in a store, by folder name."""
    files = sorted((home / "store" / "evaluate").glob("*/metrics.json"))
    return {f.parent.name: json.loads(f.read_text()) for f in files}


def backbones(home: Path) -> dict[str, bytes]:
    """The bytes of every pretrained backbone in a store."""
    return {
        f.parent.name: f.read_bytes()
        for f in sorted((home / "store").glob("pretrain/*/backbone.pth"))
    }


def made(home: Path) -> dict[str, Any]:
    """Provenance of every committed stage, by `kind/folder`."""
    return {
        f"{f.parent.parent.name}/{f.parent.name}": json.loads(f.read_text())
        for f in sorted((home / "store").glob("*/*/provenance.json"))
    }
