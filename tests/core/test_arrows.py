"""Imports flow one way: methods, tasks -> bench; dashboard -> bench.results; bench names none of them."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ALLOWED = {
    "bench": {"bench"},
    "methods": {"bench", "methods"},
    "tasks": {"bench", "tasks"},
    "dashboard": {"bench", "dashboard"},
}


def imported(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("package", ALLOWED)
def test_arrows(package: str) -> None:
    for file in (ROOT / package).rglob("*.py"):
        tops = {name.partition(".")[0] for name in imported(file)} & set(ALLOWED)
        assert tops <= ALLOWED[package], f"{file} imports {tops - ALLOWED[package]}"
        if package == "dashboard":
            ours = {n for n in imported(file) if n.startswith("bench")}
            assert all(n.startswith("bench.results") for n in ours), f"{file} imports {ours}"


@pytest.mark.parametrize(
    "arguments", ["--help", "list --json", "run --help", "plan --help", "list methods", "sweep --help"]
)
def test_start_up_imports_nothing_heavy(arguments: str) -> None:
    code = (
        "import sys\nfrom bench.cli import main\n"
        f"try: main({arguments.split()!r})\nexcept SystemExit as e: assert not e.code, e.code\n"
        "heavy = {'torch', 'torchvision', 'lightning', 'numpy', 'cv2', 'wandb', 'sqlalchemy', 'streamlit'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "HEAVY []"
