"""The order of the house: rooms import only from rooms above them, and no modules import in a
circle."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.house import Import, circles, rooms_and_floors, upward
from tests.patience import HANG


def test_no_room_imports_from_below_or_beside_it() -> None:
    assert upward() == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circles() == []


def test_the_house_has_the_rooms_and_floors_of_its_plan() -> None:
    rooms, floors = rooms_and_floors()
    assert rooms == 19  # `bench` itself, its 15 rooms, and methods, tasks, dashboard
    assert floors <= 11


@pytest.fixture
def small_house(tmp_path: Path) -> Path:
    """A house whose plan room is imported from below, from a function and for a type only."""
    files = {
        "bench/core/a.py": "def f():\n    from bench.plan.b import x\n",
        "bench/plan/b.py": "from bench.core import a\nx = 1\n",
        "bench/data/c.py": "from typing import TYPE_CHECKING as T\nif T:\n    import bench.nn.d\n",
        "bench/nn/d.py": "from . import e\n",
        "bench/nn/e.py": "",
        "methods/m.py": "from bench.plan import b\nfrom bench.nn import e\n",
    }
    for name, text in files.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path


def test_imports_in_functions_and_for_types_count(small_house: Path) -> None:
    assert upward(small_house) == [
        Import("bench.core.a", "bench.plan.b", 2),
        Import("bench.data.c", "bench.nn.d", 3),
        Import("methods.m", "bench.plan.b", 1),
    ]
    assert circles(small_house) == [["bench.core.a", "bench.plan.b"]]


@pytest.mark.parametrize(
    "arguments",
    ["--help", "list --json", "run --help", "plan --help", "list methods", "sweep --help"],
)
def test_start_up_imports_nothing_heavy(arguments: str) -> None:
    code = (
        "import sys\nfrom bench.cli import main\n"
        f"try: main({arguments.split()!r})\nexcept SystemExit as e: assert not e.code, e.code\n"
        "heavy = {'torch', 'torchvision', 'lightning', 'numpy', 'cv2', 'wandb', 'sqlalchemy', "
        "'streamlit'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=HANG, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "HEAVY []"
