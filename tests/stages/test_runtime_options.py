"""What may change how fast a training is, and nothing else: no key, no step, no file's form."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from bench.cli import run as run_verb
from bench.conformance.support import overrides
from bench.core.params import Runtime
from bench.core.store import Store
from bench.launch.local import LocalEngine
from bench.plan.cell import Cell
from bench.plan.planner import Planner, make_plan
from bench.plan.product import make_cells
from bench.stages.checkpoint import read_history
from bench.stages.pretrain import loop as _fit
from bench.stages.pretrain import run
from tests.core.test_store import Heard
from tests.stages.pretraining import Watch, context

OPTIONS: dict[str, Any] = {
    "method": "byol",
    "crop": "image",
    "task": "coco_det",
    "scale": "tiny",
    "seeds": "0",
    "data": None,
    "task_data": None,
    "sets": (),
}


def key(runtime: Runtime, **options: Any) -> str:
    cells, paths = make_cells(**{**OPTIONS, **options})
    (planned,) = make_plan(cells, runtime, paths).cells
    assert planned.final is not None
    return planned.final.key


def test_only_precision_is_identity(tmp_path: Path) -> None:
    plain = Runtime(home=tmp_path, database="")
    want = key(plain)
    for option in (
        {"threads": 3},
        {"compile": True},
        {"devices": 2},
        {"nodes": 2, "node": 1},
        {"workers": 5},
        {"accumulate": 4},
    ):
        assert key(plain.model_copy(update=option)) == want
    assert key(plain, precision="fp32") == want, "what it is anyway"
    half = key(plain, precision="bf16")
    assert half != want
    assert half == key(plain, sets=("byol.precision=bf16",))


@pytest.mark.parametrize(
    "option", ["--threads", "--nodes", "--accumulate", "--compile", "--precision"]
)
def test_run_has_the_option(option: str) -> None:
    assert option in CliRunner().invoke(run_verb.command, ["--help"]).output


def test_compiled_parts_learn_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a backend that only traces, so that the comparison is exact and takes seconds; the keys
    of what is saved are those of the network that is not compiled. DenseCL calls its backbone's
    `maps`."""
    calls: list[str] = []
    traced = functools.partial(torch.compile, backend="eager")

    def compile(function: Any, *arguments: Any, **options: Any) -> Any:
        calls.append(getattr(function, "__name__", ""))
        return traced(function, *arguments, **options)

    run(context(tmp_path, "plain", method="densecl", settings={"bn_groups": 1}))
    monkeypatch.setattr(torch, "compile", compile)
    run(
        context(
            tmp_path,
            "compiled",
            method="densecl",
            settings={"bn_groups": 1},
            runtime={"compile": True},
        )
    )
    assert {"_call_impl", "maps"} <= set(calls)
    plain, compiled = (
        torch.load(tmp_path / n / "network.pth", weights_only=True) for n in ("plain", "compiled")
    )
    assert plain.keys() == compiled.keys()
    assert all(torch.allclose(v, compiled[k], atol=1e-5) for k, v in plain.items())


def test_threads_are_those_asked_for(tmp_path: Path) -> None:
    run(context(tmp_path, runtime={"threads": 2}, settings={"epochs": 1}))
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["threads"] == 2


def test_collapsed_outputs_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch()
    run(context(tmp_path, "healthy", watch=watch, settings={"epochs": 1}))
    assert not watch.notes
    spread = read_history(tmp_path / "healthy" / "history.jsonl")[-1]["std"]
    monkeypatch.setattr(_fit, "COLLAPSED", spread * 1.01)
    run(context(tmp_path, "collapsed", watch=watch, settings={"epochs": 1}))
    assert len(watch.notes) == 1
    assert "outputs have collapsed" in watch.notes[0]
    assert json.loads((tmp_path / "healthy" / "summary.json").read_text())["std"] == spread


def pretrained(home: Path, crop: str, **settings: str) -> dict[str, Any]:
    """The summary of a planned pretraining on a dozen scenes, batch 4, 1 epoch."""
    runtime = Runtime(home=home, database="", workers=0, tracker="none", devices="cpu")
    sets = (*overrides(), *((f"{crop}.{k}", v) for k, v in settings.items()))
    planner = Planner(
        Cell("supervised", crop, "coco_det", "scenes", "scenes", "tiny", 0, sets), runtime
    )
    stage = planner.pretrain("supervised", crop, planner.data("scenes"), main=True)
    folder = LocalEngine(runtime, Store(home), Heard()).ensure(stage)
    return json.loads((folder / "summary.json").read_text())  # type: ignore[no-any-return]


def test_matched_iterations_give_as_many_steps_as_whole_images(tmp_path: Path) -> None:
    """Three random boxes an image are three times the steps, or, matched, as many; the summary
    says so."""
    image = pretrained(tmp_path, "image")
    every = pretrained(tmp_path, "random", n_crops="3", iterations_matched="false")
    matched = pretrained(tmp_path, "random", n_crops="3")  # as tiny has it
    counted = ("epochs", "steps", "steps_per_epoch", "samples", "samples_per_epoch", "batch")
    assert [image[name] for name in counted] == [1, 3, 3, 12, 12, 4]
    assert [matched[name] for name in counted] == [1, 3, 3, 12, 12, 4]
    assert [every[name] for name in counted] == [1, 9, 9, 36, 36, 4]
