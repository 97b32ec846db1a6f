"""Methods are declared without PyTorch, and every one has the parts that a reader expects."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.contracts import registry
from tests.patience import HANG

HEAVY = ("torch", "torchvision", "timm", "lightning", "lightly")
CODE = f"""
import sys
from bench.contracts import registry
from bench.contracts.method import Method
for name in registry.names("method"):
    registry.load("method", name).resolve("tiny")
print(*[m for m in {HEAVY} if m in sys.modules])
"""


def test_declaring_every_method_imports_no_heavy_library() -> None:
    """In a process of its own: other tests have imported them here."""
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, timeout=HANG
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


@pytest.mark.parametrize("name", registry.names("method"))
def test_a_method_is_a_folder_with_settings_and_a_network(name: str) -> None:
    folder = registry.entry("method", name).file.parent
    assert folder.name == name
    assert {"__init__.py", "params.py", "network.py"} <= {f.name for f in folder.iterdir()}
    made = registry.load("method", name).resolve("tiny")
    assert Path(sys.modules[type(made.params).__module__].__file__ or "").name == "params.py"
    assert type(made.network(64)).__module__ == f"methods.ssl.{name}.network"  # type: ignore[attr-defined]
