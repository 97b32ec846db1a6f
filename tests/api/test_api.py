"""`import bench`: one code path with the command line, typed results, exceptions instead of
exits."""

from __future__ import annotations

import inspect
import json
import linecache
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

import bench
from bench.cli import cli
from bench.contracts import registry
from tests.patience import HANG

FEW = {"scenes_objects.n_train": 24, "scenes_objects.n_val": 8}
FEWER = {"scenes.n_train": 8, "scenes.n_val": 4}
SETS = tuple(x for k, v in FEW.items() for x in ("--set", f"{k}={v}"))


def test_importing_it_imports_nothing_heavy() -> None:
    code = (
        "import sys, bench\n"
        "bench.run, bench.plan, bench.sweep, bench.leaderboard, bench.register\n"
        "bench.plan(method='byol', task='knn')\n"
        "print(sorted({'torch', 'pandas', 'cv2', 'sqlalchemy', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=HANG, check=True
    )
    assert done.stdout == "[]\n"


def test_every_public_name_is_there_typed_and_documented() -> None:
    stub = Path(inspect.getfile(bench)).with_suffix(".pyi").read_text()
    for name in bench.__all__:
        value = getattr(bench, name)
        assert inspect.getdoc(value), name
        assert f"import {name} as {name}\n" in stub
    with pytest.raises(AttributeError, match="leaderbord"):
        _ = bench.leaderbord  # type: ignore[attr-defined]


def test_packages_of_the_same_name_stay_packages() -> None:
    """`bench.plan` is called, imported from, and found by dotted names."""
    from bench.plan.cell import Cell

    assert bench.plan.cell.Cell is Cell  # type: ignore[attr-defined]
    assert list(inspect.signature(bench.plan).parameters)[:3] == ["method", "crop", "task"]


def test_plan_is_the_plan_of_the_command() -> None:
    forecast = bench.plan(["byol", "orl"], "gt,grid", "knn", seeds=range(2), set=FEW)
    words = ["plan", "-m", "byol,orl", "-c", "gt,grid", "-t", "knn", "--seeds", "0,1", *SETS]
    told = json.loads(CliRunner().invoke(cli, [*words, "--json"]).stdout)
    assert [c["final"] for c in told["cells"]] == [
        c.final.key if c.final else None for c in forecast.cells
    ]
    assert [s["key"] for s in told["stages"]] == list(forecast.to_frame()["key"])
    assert len(forecast.missing) == len(forecast.stages)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "byoll", "task": "knn"}, "did you mean 'byol'"),
        ({"method": "byol"}, "a task is missing"),
        ({"task": "knn"}, "--method is missing"),
        ({"method": "byol", "task": "knn", "devices": 0}, "devices is 'auto', 'cpu' or a number"),
        ({"method": "byol", "task": "knn", "workers": -1}, "workers: .* got -1"),
        ({"method": "byol", "task": "knn", "worker": 1}, "did you mean 'workers'"),
        ({"method": "byol", "task": "knn", "set": {"epoch": 1}}, "epoch"),
    ],
)
def test_bad_input_raises_and_runs_nothing(
    arguments: dict[str, Any], message: str, home: Path
) -> None:
    with pytest.raises(bench.BadInput, match=message):
        bench.run(**arguments)
    assert not list((home / "store").glob("*/*"))


def test_results_say_how_every_cell_ended_and_what_was_measured(home: Path) -> None:
    """Of two tasks one cannot be scored on so few images; its error comes at the end, with all
    results."""
    few = {"scenes_objects.n_train": 2, "scenes_objects.n_val": 1, "scenes.n_train": 2}
    with pytest.raises(bench.CellsFailed, match=r"voc07_svm.* \(1 of 2 cells failed\)") as caught:
        bench.run(
            "random_init",
            task="voc07_svm,knn",
            set={**few, "scenes.n_val": 1, "knn.k": 1},
            workers=0,
            progress=False,
        )
    failed, done = caught.value.results
    assert (failed.state, done.state) == ("failed", "done")
    assert done.folder is not None
    assert done.metrics == json.loads((done.folder / "metrics.json").read_text())
    assert failed.metrics == {}
    board = bench.leaderboard(task="knn")
    assert board["top1"].tolist() == [done.metrics["top1"]]
    assert board["mark"].tolist() == ["unknown"]  # one seed
    assert bench.results()["key"].tolist() == [done.key]
    with pytest.raises(bench.BadInput, match="unknown task 'nothing'"):
        bench.leaderboard(task="nothing")
    assert done.backbone is not None
    weights = bench.load_backbone(str(done.key)).state_dict()
    kept = torch.load(done.backbone, weights_only=True)
    assert all(torch.equal(weights[name], value) for name, value in kept.items())


def test_views_are_those_of_the_loader() -> None:
    """Sample by sample, the tensors that a training's batch holds."""
    from contextlib import nullcontext

    from bench.api.seeing import _Asked, _plan
    from bench.contracts.context import StageContext
    from bench.core.progress import Progress
    from bench.launch.session import open_engine, open_runtime
    from bench.stages.pretrain.setup import build_method, prepare
    from bench.views.loader import BatchOrder, make_loader, to_device

    seen = bench.views("byol", "grid", 8, set=FEWER, workers=0, seed=3, progress=False)
    sets = tuple(f"{k}={v}" for k, v in FEWER.items())
    runtime = open_runtime(workers=0, devices="cpu")
    stage = _plan(_Asked("byol", "grid", "scenes", "tiny", 3, 0, sets), runtime)
    with open_engine(runtime, nullcontext(Progress())) as (engine, _):
        inputs = {role: engine.ensure(child) for role, child in stage.inputs.items()}
    ctx = StageContext(stage, Path(), inputs, runtime)
    images = ctx.images("data", "train")
    setup = prepare(ctx, build_method(stage.params["method"]), images)
    order = BatchOrder(len(setup.sampler), 4, 1, ctx.seed("order"))
    loader = make_loader(images, setup.sampler, setup.viewer, ctx.seed("views"), order, 0)
    numbers = next(iter(order))
    batch = to_device(next(iter(loader)), "cpu", 0, 1)
    by_sample = {(v.sample, v.role): v for v in seen}
    for role, views in batch.views.items():
        for at, (_, sample) in enumerate(numbers):
            view = by_sample[sample, role]
            assert torch.equal(view.tensor, views.images[at])
            assert view.box == tuple(views.boxes[at].tolist())


CELL = '''
from bench.contracts.crop import Crop
from bench.contracts.views import Source

SHARE = .5

def left(width):
    return round(width * SHARE)

class Halves:
    def __init__(self, sizes):
        self.sizes = sizes
    def __len__(self):
        return len(self.sizes)
    def sources(self, index, rng):
        width, height = self.sizes[index]
        return [Source(index, (0, 0, left(width), int(height)))] * 2

class LeftHalf(Crop):
    """The left half of every image."""
    style = "pseudo"
    def sampler(self, images, inputs):
        return Halves(images.sizes)
'''


def _run_cell(text: str) -> Any:
    """As a notebook does: the cell's text is a file that only `linecache` knows."""
    name = f"<cell {abs(hash(text))}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    space: dict[str, Any] = {"__name__": "notebook"}
    exec(compile(text, name, "exec"), space)
    return space["LeftHalf"]


@pytest.mark.filterwarnings("ignore:crop 'left_half' is known")
def test_a_registered_crop_is_a_component_whose_key_follows_its_source(registered: None) -> None:
    def key(text: str) -> str:
        bench.register(_run_cell(text))
        final = bench.plan("byol", "left_half", "knn").cells[0].final
        assert final is not None
        return final.key

    first = key(CELL)
    assert key(CELL.replace("# left", "").replace("SHARE = .5", "SHARE = 0.5  # half")) == first
    changes = ("SHARE = .5", "SHARE = .4"), ("round(", "int("), ("* 2", "* 3"), ("pseudo", "image")
    others = {key(CELL.replace(old, new)) for old, new in changes}
    assert len(others | {first}) == 5, "the class, a helper, a helper class and a constant"
    assert "left_half" in registry.names("crop")


def test_it_warns_that_it_is_recorded_by_digest_and_is_seen(registered: None) -> None:
    with pytest.warns(UserWarning, match="left_half.*digest of its source, [0-9a-f]{12}"):
        bench.register(_run_cell(CELL))
    seen = bench.views("byol", "left_half", 4, set=FEWER, workers=0, progress=False)
    whole = bench.views("byol", "image", 4, set=FEWER, workers=0, progress=False)
    assert max(v.box[2] for v in seen) <= 104 < 190 < max(v.box[2] for v in whole), (
        "scenes are 138 to 208 pixels wide"
    )


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (int, "is no component"),
        (type("Image", (registry.load("crop", "image"),), {}), "there is a crop 'image'"),
    ],
)
def test_what_cannot_be_registered_says_why(cls: Any, message: str) -> None:
    with pytest.raises(bench.BadInput, match=message):
        bench.register(cls)


@pytest.mark.filterwarnings("ignore:crop 'left_half' is known")
def test_what_only_this_process_knows_is_refused_where_others_would_need_it(
    registered: None, home: Path
) -> None:
    bench.register(_run_cell(CELL))
    with pytest.raises(bench.BadInput, match=r"crop 'left_half' is registered.*bench new crop"):
        bench.run("byol", "left_half", "knn", max_parallel=2)
    with pytest.raises(bench.BadInput, match="a sweep uses others"):
        bench.sweep({"knn.k": [1]}, method="random_init", crop="left_half", task="knn")
