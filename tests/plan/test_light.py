"""Listing and planning import nothing that only computing needs, so they take a blink and 50 MB.

The declarations are light, nothing stands in for a library: a component of another distribution
that imports PyTorch at its top plans as well, only slower.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.contracts import registry
from tests.patience import HANG

HEAVY = {
    *("torch", "torchvision", "lightning", "timm", "transformers", "lightly", "detectron2"),
    *("cv2", "PIL", "skimage", "scipy", "sklearn", "pandas", "matplotlib", "pycocotools"),
    *("wandb", "optuna", "ray", "submitit", "streamlit"),
}
DATABASE = {"sqlalchemy", "alembic"}  # of the results, which only some verbs read
# The command as a shell starts it; the last line of stderr says which libraries it imported.
COMMAND = """
import atexit, sys
from bench.cli import main
packages = lambda: sorted({name.partition(".")[0] for name in sys.modules})
atexit.register(lambda: print("IMPORTED", *packages(), file=sys.stderr))
main()
"""
# Every component by itself: the first one after which a heavy library is there is to blame.
COMPONENTS = """
import sys
from bench.contracts import registry
heavy = set(sys.argv[1].split(","))
for kind, name in sorted(registry.entries()):
    registry.load(kind, name)
    if blamed := heavy & set(sys.modules):
        sys.exit(f"{kind} {name} imports {', '.join(sorted(blamed))}")
"""
# A process of 10 MB starts another one: what Linux counts for a child begins with what its parent
# held.
PEAK = """
import resource, subprocess, sys
command = [sys.executable, "-c", "from bench.cli import main; main()", *sys.argv[1:]]
code = subprocess.run(command).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024, file=sys.stderr)
sys.exit(code)
"""


def start(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=HANG,
        check=False,
    )


def imported(*arguments: str) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    """The finished command, and the top-level packages that it imported."""
    done = start(COMMAND, *arguments)
    assert done.returncode == 0, done.stderr
    mark, *packages = done.stderr.splitlines()[-1].split()
    assert mark == "IMPORTED"
    return done, set(packages)


def megabytes(*arguments: str) -> tuple[subprocess.CompletedProcess[str], float]:
    """The finished command, and the largest memory that it held."""
    done = start(PEAK, *arguments)
    assert done.returncode == 0, done.stderr
    return done, float(done.stderr.splitlines()[-1])


def test_no_declaration_imports_what_only_computing_needs() -> None:
    done = start(COMPONENTS, ",".join(HEAVY | DATABASE))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "command",
    [
        "plan --method orl --task coco_det",
        "plan --method * --crop * --task * --json",
        "plan --method byol --crop coarse --task voc07_svm --scale paper --data scenes "
        "--task-data scenes",
        "list",
        "list methods --json",
        "list params orl",
        "list --matrix",
        "data list",
        "table list",
        "data list --json",
        "table show 002/T1 --scale paper --format csv",
        "perf plan --method byol --task knn",
    ],
)
def test_listing_and_planning_import_nothing_heavy(command: str, home: Path) -> None:
    done, packages = imported(*command.split())
    assert done.stdout
    assert "bench" in packages
    allowed = DATABASE if command.startswith("table") else set()
    assert packages & (HEAVY | DATABASE) <= allowed


def test_a_cell_is_planned_in_less_than_120_mb(home: Path) -> None:
    done, peak = megabytes("plan", "--method", "orl", "--task", "coco_det")
    assert "7 stages" in done.stdout
    assert 20 < peak < 120


def test_19040_cells_are_planned_in_less_than_500_mb(home: Path) -> None:
    every = ["--method", "*", "--crop", "*", "--task", "*", "--seeds", "0,1"]
    done, peak = megabytes("plan", *every)
    assert int(done.stdout.splitlines()[-1].split()[0]) >= 19_040
    assert 20 < peak < 500


def test_perf_plan_reports_the_memory_of_its_process(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    _, peak = megabytes("perf", "plan", "--method", "byol", "--task", "knn", "--json", str(file))
    report = json.loads(file.read_text())
    assert report["cells"] == 2 * len(registry.names("crop"))
    assert 20 < report["steps"][-1]["megabytes"] <= peak < 500


def test_a_finished_cell_is_shown_without_pytorch(home: Path) -> None:
    cell = ["--method", "random_init", "--task", "knn", "--devices", "cpu", "--workers", "0"]
    cell += ["--set", "scenes_objects.n_train=24", "--set", "scenes_objects.n_val=8"]
    made, packages = imported("run", *cell)
    assert " made, 0 reused" in made.stdout
    assert "torch" in packages
    again, packages = imported("run", *cell)
    assert "0 stage(s) made, 1 reused" in again.stdout
    assert "torch" not in packages
    rows = [
        [x for x in run.stdout.splitlines() if x.startswith("random_init")]
        for run in (made, again)
    ]
    assert rows[0] == rows[1] != []
    matrix, packages = imported("matrix", *cell, "--crop", "image")
    assert "1 cell(s): 1 done; 0 stage(s) made, 1 reused" in matrix.stdout
    assert "torch" not in packages


# ---- a component of another distribution

METHOD = '''"""One file, its network beside its settings: planning it imports PyTorch."""
import torch
from torch import nn
from bench.contracts.method import Method, PretrainParams
from bench.contracts.network import Network
from bench.core.params import param
class WideParams(PretrainParams):
    wide: int = param(int(torch.arange(4).sum()), help="computed when the file is imported")
class WideNetwork(Network):
    def __init__(self): self.backbone = nn.Identity()
class Wide(Method):
    Params = WideParams
    params: WideParams

    def viewer(self, images, inputs):
        raise NotImplementedError  # a plan asks for none

    def network(self, n_images, heads=1):
        raise NotImplementedError
'''


@pytest.fixture
def plugged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A method `wide` of another distribution, which processes find by its entry point."""
    (tmp_path / "plug" / "ssl").mkdir(parents=True)
    for package in ("plug", "plug/ssl"):
        (tmp_path / package / "__init__.py").write_text("")
    about = tmp_path / "plug-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: plug\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[bench.components]\nplug = plug\n")
    (tmp_path / "plug" / "ssl" / "wide.py").write_text(METHOD)
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))


def planned(*names: str) -> tuple[dict[str, str], set[str]]:
    """The final key of each of the methods on `knn`, and what planning them imported."""
    done, packages = imported("plan", "--method", ",".join(names), "--task", "knn", "--json")
    return {c["method"]: c["final"] for c in json.loads(done.stdout)["cells"]}, packages


def test_a_single_file_that_imports_pytorch_plans_beside_the_others(
    plugged: None, home: Path
) -> None:
    both, packages = planned("byol", "wide")
    assert both.keys() == {"byol", "wide"}
    assert "torch" in packages
    alone, packages = planned("byol")
    assert alone["byol"] == both["byol"]
    assert "torch" not in packages
    done, packages = imported("list", "params", "wide", "--json")
    assert {row["name"]: row["default"] for row in json.loads(done.stdout)}["wide"] == 6
    assert "torch" in packages
