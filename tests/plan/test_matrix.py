"""Every method x crop x task plans or is unsupported for the reason that `bench list --matrix`
prints."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.contracts import registry
from bench.contracts.component import SCALES
from bench.core.params import Runtime
from bench.plan.cell import Cell
from bench.plan.pairs import list_pairs
from bench.plan.planner import make_plan
from tests.e2e.micro import bench
from tests.patience import HANG

METHODS, CROPS, TASKS = (registry.names(kind) for kind in ("method", "crop", "task"))


@pytest.mark.parametrize("scale", SCALES)
def test_the_matrix_is_whole_and_gives_reasons(scale: str) -> None:
    for kind, others in (("crop", CROPS), ("task", TASKS)):
        pairs = list_pairs(kind, scale)
        assert {(p.method, p.other) for p in pairs} == {(m, o) for m in METHODS for o in others}
        assert len(pairs) == len(METHODS) * len(others)
        assert all(10 <= len(p.reason) <= 200 for p in pairs if p.reason is not None)


def test_few_pairs_are_unsupported() -> None:
    pairs = list_pairs("crop", "tiny")
    assert all(p.supported for p in pairs if p.other == "image")
    whole = [m for m in METHODS if all(p.supported for p in pairs if p.method == m)]
    assert len(whole) >= len(METHODS) - 5, "most methods go with every crop"


@pytest.mark.parametrize("method", METHODS)
def test_every_pair_plans_or_says_why_not(method: str, home: Path) -> None:
    reasons = {
        kind: {p.other: p.reason for p in list_pairs(kind, "tiny") if p.method == method}
        for kind in ("crop", "task")
    }
    cells = [_cell(method, crop, task) for crop in CROPS for task in TASKS]
    plan = make_plan(cells, Runtime(home=home, database="sqlite://"), {})
    assert len(plan.cells) == len(cells)
    for made in plan.cells:
        want = reasons["crop"][made.cell.crop] or reasons["task"][made.cell.task]
        assert made.unsupported == want
        assert (made.final is None) == bool(want)
        if made.final is not None:
            assert made.final.inputs["backbone"].name == method


def _cell(method: str, crop: str, task: str) -> Cell:
    task_class: Any = registry.load("task", task)
    data = task_class.data.get("tiny", "scenes")
    return Cell(method, crop, task, "scenes", data, "tiny", 0)


def test_the_command_prints_each_reason_once_and_needs_no_training_library(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")  # a pipe without it gets each row as one line
    code = (
        "import sys\nfrom bench.cli import cli\n"
        "cli.main(['list', '--matrix'], standalone_mode=False)\n"
        "print([m for m in ('torchvision', 'timm', 'lightning', 'pycocotools') if m in "
        "sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=HANG
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "[]"
    assert all(len(line) <= 80 for line in lines)
    heads = [name for line in lines if line.startswith("crop ") for name in line.split()[1:]]
    assert heads == METHODS, "the table goes on in further blocks"
    first = lines.index(next(line for line in lines if line.startswith("-----")))
    assert [line.split()[0] for line in lines[first + 1 : first + 1 + len(CROPS)]] == CROPS
    text = " ".join(done.stdout.split())
    for method, reason in {(p.method, p.reason) for p in list_pairs("crop", "tiny")}:
        if reason:
            assert text.count(f"{method}: unsupported ({reason})") == 1


def test_the_json_is_the_matrix() -> None:
    matrix = json.loads(bench("list", "--matrix", "--scale", "small", "--json").stdout)
    assert matrix["scale"] == "small"
    for plural, kind in (("crops", "crop"), ("tasks", "task")):
        assert matrix[plural] == [
            {"method": p.method, kind: p.other, "supported": p.supported, "reason": p.reason}
            for p in list_pairs(kind, "small")
        ]
    assert bench("list", "--matrix", "--scale", "huge").returncode == 2
