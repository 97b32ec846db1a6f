"""Planning without PyTorch: the same answers as with it, less memory, and the real one where it is
needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from bench.contracts import registry

REAL = "import torch; from bench.cli import main; main()"
LIGHT = (
    "import atexit, os, sys; from bench.cli import main\n"
    "atexit.register(lambda: open(os.environ['SEEN'], 'w').write(str('torch._C' in "
    "sys.modules)))\n"
    "main()"
)
DUMP = """
import json, sys
from bench.cli._without_torch import stand_in
if sys.argv[1] == "real":
    import torch
need = stand_in(["plan"])
from bench import registry
from bench.plan.cell import make_plan
from bench.launch.session import open_runtime
from bench.plan.product import make_cells
from bench.cli.list import _rows
from bench.contracts.source import component_names, digest_of
found = {"params": {f"{k} {n}": _rows(registry.load(k, n)) for k, n in registry.entries()}}
every = {"method": "*", "crop": "*", "task": "*", "seeds": "0", "sets": ()}
for scale, data in (("tiny", None), ("paper", "scenes")):
    cells, paths = make_cells(**every, scale=scale, data=data, task_data=data)
    plan = make_plan(cells, open_runtime(), paths)
    found[scale] = [[p.cell.command(), p.final and p.final.key, p.engine, p.unsupported] for p in plan.cells]
    found[f"{scale} stages"] = [s.record() for s in plan.stages]
    code = {(s.runner, component_names(s.params)) for s in plan.stages}
    found[f"{scale} code"] = sorted([r, str(c), digest_of(r, c)] for r, c in code)
print(json.dumps({"need": need, "torch": "torch._C" in sys.modules, "found": found}))
"""
# A process of 10 MB starts another one: what Linux counts for a child begins with what its parent
# held.
PEAK = """
import resource, subprocess, sys
code = subprocess.run([sys.executable, "-c", "from bench.cli import main; main()", *sys.argv[1:]]).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024, file=sys.stderr)
sys.exit(code)
"""
TINY = ["--method", "random_init", "--task", "knn", "--devices", "cpu", "--workers", "0"]
TINY += ["--set", "scenes_objects.n_train=24", "--set", "scenes_objects.n_val=8"]


def start(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **environment},
    )


def light(
    folder: Path, *arguments: str, **environment: str
) -> tuple[subprocess.CompletedProcess[str], bool]:
    """The command as a shell starts it, and whether it ended with the real PyTorch imported."""
    done = start(LIGHT, *arguments, SEEN=str(folder / "seen"), **environment)
    return done, (folder / "seen").read_text() == "True"


def same(one: subprocess.CompletedProcess[str], other: subprocess.CompletedProcess[str]) -> bool:
    return (one.returncode, one.stdout, one.stderr) == (
        other.returncode,
        other.stdout,
        other.stderr,
    )


def test_every_key_digest_setting_and_reason_is_that_of_a_process_with_torch() -> None:
    reports = [json.loads(start(DUMP, how).stdout) for how in ("real", "light")]
    assert reports[1]["need"] is None, (
        "a name that a file uses when it is imported; is it in NAMES?"
    )
    assert [report["torch"] for report in reports] == [True, False]
    real, without = (report["found"] for report in reports)
    assert len(real["tiny"]) == len(real["paper"]) > 9000
    assert {p["key"] for p in real["tiny stages"]} != {p["key"] for p in real["paper stages"]}
    for part in real:
        assert without[part] == real[part], part


@pytest.mark.parametrize(
    "arguments",
    [
        "plan --method orl --task coco_det",
        "plan --method orl,swav --crop * --task coco_det,knn --json",
        "plan --method byol --crop gt --task voc07_svm --scale paper --data scenes --task-data "
        "scenes",
        "plan --method orl --task coco_det --engine torchvision --set byol.epochs=3 --set "
        "neighbours=2",
        "plan --method byol --task knn --backbone resnet18",
        "plan --method byol --task knn --set epoch=3",
        "plan --method boyl --task knn",
        "--debug plan --method byol --task knn --json",
        "list",
        "list methods --json",
        "list params orl",
        "list params coco_det --json",
        "list --matrix",
        "list --matrix --scale paper --json",
        "data list --json",
        "table list",
        "table show 000/T1",
        "table show 002/T1 --scale paper --format csv",
    ],
)
def test_a_verb_says_the_same_without_torch(arguments: str, tmp_path: Path) -> None:
    done, torch = light(tmp_path, *arguments.split())
    assert not torch
    assert done.stdout or "bench: " in done.stderr
    assert same(done, start(REAL, *arguments.split()))


def test_19040_cells_are_planned_in_less_than_500_mb(home: Path) -> None:
    every = ["--method", "*", "--crop", "*", "--task", "*", "--seeds", "0,1"]
    done = start(PEAK, "plan", *every)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1].split()[0]) >= 19_040
    assert 20 < float(done.stderr.splitlines()[-1]) < 500


def test_perf_plan_measures_a_process_without_torch(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    done = start(PEAK, "perf", "plan", "--method", "byol", "--task", "knn", "--json", str(file))
    assert done.returncode == 0, done.stderr
    report = json.loads(file.read_text())
    assert report["cells"] == 2 * len(registry.names("crop"))
    assert 20 < report["steps"][-1]["megabytes"] <= float(done.stderr.splitlines()[-1]) < 500


def test_a_finished_cell_is_shown_without_torch_and_forced_with_it(
    home: Path, tmp_path: Path
) -> None:
    made, torch = light(tmp_path, "run", *TINY)
    assert made.returncode == 0, made.stderr
    assert torch
    assert " made, 0 reused" in made.stdout
    again, torch = light(tmp_path, "run", *TINY)
    assert not torch
    assert "0 stage(s) made, 1 reused" in again.stdout
    assert same(again, start(REAL, "run", *TINY))
    assert [x for x in made.stdout.splitlines() if "│" in x] == [
        x for x in again.stdout.splitlines() if "│" in x
    ]
    product = [x.replace("--method", "--methods").replace("--task", "--tasks") for x in TINY]
    matrix, torch = light(tmp_path, "matrix", *product, "--crops", "image")
    assert matrix.returncode == 0, matrix.stderr
    assert not torch
    assert "1 cell(s): 1 done; 0 stage(s) made, 1 reused" in matrix.stdout
    forced, torch = light(tmp_path, "run", *TINY, "--force")
    assert torch
    assert "0 reused" in forced.stdout


def test_only_a_command_line_is_served() -> None:
    code = (
        "import sys, bench.cli\ntry: bench.cli.main(['list', 'params', 'orl'])\nexcept "
        "SystemExit: pass\n"
        "print(bench.cli.standing_in(), 'torch._C' in sys.modules)"
    )
    assert start(code).stdout.splitlines()[-1] == "False True"


# ---- components of another distribution

METHOD = '''"""Its setting comes from {what}."""
import torch
from bench.contracts.method import Method, PretrainParams
from bench.core.params import param
{body}
class WideParams(PretrainParams):
    wide: int = param(N)
class Wide(Method):
    Params = WideParams
'''

COMPUTES = {
    "a sum": ("N = int(torch.arange(4).sum())", 6),
    "a swallowed error": (
        "try:\n    N = int(torch.ones(3).sum())\nexcept BaseException:\n    N = 0",
        3,
    ),
    "a version": ("N = int(torch.__version__.split('.')[0])", int(version("torch").split(".")[0])),
    "a module's size": (
        "from torch import nn\nN = sum(p.numel() for p in nn.Linear(2, 3).parameters())",
        9,
    ),
    "its own module": (
        "from torch import nn\nclass Empty(nn.Module): pass\nN = len(list(Empty().parameters())) "
        "+ 2",
        2,
    ),
    "what there is": (
        "N = int(hasattr(torch, 'no_such_name')) + int(hasattr(torch.Tensor, 'relu'))",
        1,
    ),
    "an import that fails": (
        "try:\n    import torch.no_such\nexcept ImportError:\n    N = 11",
        11,
    ),
    "a library": ("import torchvision\nN = len(torchvision.ops.box_area(torch.zeros(5, 4)))", 5),
    "a context": ("with torch.no_grad():\n    N = 8", 8),
    "a type": ("N = {torch.float32: 4}[torch.float]", 4),
    "another metaclass": (
        "from typing import Protocol\nclass P(Protocol): pass\nclass Q(torch.nn.Module, P): "
        "pass\nN = 7",
        7,
    ),
}

NAMES_ONLY = """
import functools, typing
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
import pydantic
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset
class Head(nn.Module, ABC):
    kinds: typing.ClassVar[list[str]] = ["a", "b"]
    @abstractmethod
    def loss(self, x: Tensor | None, f: Callable[[Tensor], Tensor]) -> "dict[str, Tensor]": ...
class Linear(Head):
    def loss(self, x, f): return {"loss": F.relu(x)}
class Numbers(Dataset[int]):
    def __len__(self): return 3
class Twice(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x): return 2 * x
@dataclass(frozen=True)
class Pair:
    a: "Tensor"
    b: typing.Optional[Tensor] = None
class Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
    weight: Tensor | None = None
@functools.singledispatch
def size(x): return 1
@size.register(Tensor)
def _(x): return 100
@torch.no_grad()
@functools.cache
def ten(): return 10
assert issubclass(Linear, nn.Module) and not issubclass(Pair, nn.Module)
assert not isinstance(Pair(1), (Tensor, Linear))
assert typing.get_type_hints(Pair)["a"] is Tensor and Model().weight is None and Pair(1) == Pair(1)
match 5:
    case Tensor(): raise ValueError
    case int(): pass
N = ten() + len(Head.kinds) + size(5)
"""


@pytest.fixture
def plugged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a method `wide` of another distribution, which processes find by its entry
    point."""
    (tmp_path / "plug" / "ssl").mkdir(parents=True)
    for package in ("plug", "plug/ssl"):
        (tmp_path / package / "__init__.py").write_text("")
    about = tmp_path / "plug-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: plug\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[bench.components]\nplug = plug\n")
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    return tmp_path / "plug" / "ssl" / "wide.py"


def wide(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return next(row["default"] for row in json.loads(done.stdout) if row["name"] == "wide")


@pytest.mark.parametrize("what", COMPUTES)
def test_a_component_that_computes_when_it_is_imported_has_the_real_torch(
    what: str, plugged: Path, tmp_path: Path
) -> None:
    body, number = COMPUTES[what]
    plugged.write_text(METHOD.format(what=what, body=body))
    done, torch = light(tmp_path, "list", "params", "wide", "--json", BENCH_DEBUG="1")
    assert wide(done) == number
    assert torch
    assert done.stderr.count("bench: started again, with PyTorch: ") == 1


def test_the_keys_of_such_a_component_are_those_with_torch(plugged: Path, tmp_path: Path) -> None:
    plugged.write_text(METHOD.format(what="a sum", body=COMPUTES["a sum"][0]))
    planned, torch = light(tmp_path, "plan", "--method", "byol,wide", "--task", "knn", "--json")
    assert torch
    assert same(planned, start(REAL, "plan", "--method", "byol,wide", "--task", "knn", "--json"))


def test_a_component_that_names_torch_only_needs_none(plugged: Path, tmp_path: Path) -> None:
    plugged.write_text(METHOD.format(what="names", body=NAMES_ONLY))
    done, torch = light(tmp_path, "list", "params", "wide", "--json")
    assert wide(done) == 13
    assert not torch
    assert same(done, start(REAL, "list", "params", "wide", "--json"))
    planned, torch = light(tmp_path, "plan", "--method", "wide,byol", "--task", "knn", "--json")
    assert not torch
    assert same(planned, start(REAL, "plan", "--method", "wide,byol", "--task", "knn", "--json"))


def test_a_misspelt_name_is_the_error_that_it_is_with_torch(plugged: Path, tmp_path: Path) -> None:
    plugged.write_text(METHOD.format(what="nothing", body="class X(torch.nn.Modul): pass\nN = 1"))
    one, _ = light(tmp_path, "list", "params", "wide")
    other = start(REAL, "list", "params", "wide")
    assert one.returncode == other.returncode == 1
    last = [done.stderr.splitlines()[-1] for done in (one, other)]
    assert last[0] == last[1]
    assert "Modul" in last[0]
