"""Where a result comes from: recorded beside it, never part of a key."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import resource
import socket
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench import __version__
from bench.stage import Stage

PACKAGES = ("torch", "torchvision", "lightning", "numpy", "opencv-contrib-python", "pycocotools", "wandb")


@cache
def _commit(folder: Path) -> tuple[str | None, bool | None]:
    """Commit and dirty flag of the checkout the code runs from, or (None, None) outside one."""

    def git(*args: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *args], capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "bench/stage.py")
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None, None


@cache
def _packages() -> dict[str, str]:
    found = {"ssl-crop-bench": __version__}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def source_digest(stage: Stage) -> str:
    """sha256 over the source files that give the stage its meaning: the runner's module and the files of
    the components its params name. A result whose digest differs from today's is "code changed since"."""
    files = {_file(stage.runner.partition(":")[0])}
    for part, value in stage.params.items():
        if isinstance(value, dict) and "name" in value and part in ("method", "crop", "proposals", "task"):
            from bench.registry import entries

            known = entries().get((part, value["name"]))  # a weights file's "method" is no component
            files |= {known.file} if known else set()
    total = hashlib.sha256()
    for file in sorted(str(f) for f in files if f):
        total.update(Path(file).read_bytes())
    return total.hexdigest()


def _file(module: str) -> Path | None:
    spec = importlib.util.find_spec(module)
    return Path(spec.origin) if spec and spec.origin else None


def provenance(stage: Stage, started: float, seconds: float, extra: dict[str, Any]) -> dict[str, Any]:
    """The provenance record of a stage that took `seconds` from `started` (Unix time)."""
    commit, dirty = _commit(Path(__file__).resolve().parents[2])
    torch = sys.modules.get("torch")  # a stage that never imported it used no GPU
    gpu = torch is not None and torch.cuda.is_available()
    device = torch.cuda.get_device_name(0) if torch and gpu else platform.processor() or "cpu"
    return {
        "commit": commit,
        "dirty": dirty,
        "packages": _packages(),
        "python": platform.python_version(),
        "host": socket.gethostname(),
        "device": device,
        "cpus": len(os.sched_getaffinity(0)),
        "started": datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "arguments": sys.argv[1:],
        "source_digest": source_digest(stage),
        **extra,
    }
