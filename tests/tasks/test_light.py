"""Declaring tasks is light: `bench list` and `bench plan` read them all without PyTorch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import tasks

HEAVY = ("torch", "torchvision", "scipy", "cv2", "PIL", "lightning", "sklearn", "pycocotools")
CODE = """
import json, pkgutil, sys
from importlib import import_module
import tasks
from bench.contracts import registry

heavy, blamed = set(sys.argv[1].split()), {}
def look(name):
    for module in sorted(heavy & set(sys.modules)):
        blamed[module] = name
        heavy.discard(module)
look("bench.contracts.registry")
names = registry.names("task")
for name in names:
    registry.load("task", name)
    look(name)
for family in ("_classification", "_detection", "_frozen", "_segmentation"):
    for module in ("protocol", "task"):
        import_module(f"tasks.{family}.{module}")
        look(f"tasks.{family}.{module}")
print(json.dumps({"blamed": blamed, "tasks": len(names)}))
"""


def test_no_task_imports_anything_heavy_to_be_declared() -> None:
    command = [sys.executable, "-c", CODE, " ".join(HEAVY)]
    report = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert report["blamed"] == {}
    files = {f.stem for f in Path(tasks.__path__[0]).glob("[!_]*.py")} - {"bases"}
    assert report["tasks"] == len(files) > 0
