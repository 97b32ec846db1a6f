"""Where a result comes from: recorded beside it, never part of a key."""

from __future__ import annotations

import json
import os
import platform
import resource
import socket
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, entry_points, version
from importlib.util import find_spec
from pathlib import Path

from bench import __version__
from bench.contracts.registry import GROUP
from bench.contracts.source import Code
from bench.core.redact import redact
from bench.core.stage import PluginRecord, Provenance, Stage
from bench.core.store import Store

OURS = "ssl-crop-bench"  # this distribution
PACKAGES = (
    "torch",
    "torchvision",
    "lightning",
    "numpy",
    "opencv-contrib-python",
    "pycocotools",
    "wandb",
)


@cache
def _commit(folder: Path) -> tuple[str | None, bool | None]:
    """Commit and dirty flag of the checkout the code runs from, or (None, None) outside one."""
    try:
        _git(folder, "ls-files", "--error-unmatch", "bench/core/stage.py")
        dirty = _git(folder, "status", "--porcelain", "--untracked-files=no")
        return _git(folder, "rev-parse", "HEAD"), bool(dirty)
    except (OSError, subprocess.SubprocessError):
        return None, None


def _git(folder: Path, *words: str) -> str:
    return subprocess.run(
        ["git", "-C", str(folder), *words], capture_output=True, text=True, timeout=10, check=True
    ).stdout.strip()


@cache
def _plugins() -> dict[str, PluginRecord]:
    """Every other distribution that brings components."""
    plugins: dict[str, PluginRecord] = {}
    for point in entry_points(group=GROUP):
        distribution = point.dist
        if distribution is None or distribution.name == OURS:
            continue
        commit, dirty = _plugin_commit(point.value)
        plugins[distribution.name] = {
            "version": distribution.version,
            "commit": commit,
            "dirty": dirty,
        }
    return plugins


def _plugin_commit(package: str) -> tuple[str | None, bool | None]:
    """Commit of the checkout that the package lies in, and whether one of its Python files is
    changed or not in it; (None, None) where none of them is tracked."""
    try:
        spec = find_spec(package)
        (folder, *_) = list(spec.submodule_search_locations or []) if spec else []
        _git(Path(folder), "ls-files", "--error-unmatch", "*.py")
        dirty = _git(Path(folder), "status", "--porcelain", "--untracked-files=all", "--", "*.py")
        return _git(Path(folder), "rev-parse", "HEAD"), bool(dirty)
    except (ImportError, ValueError, OSError, subprocess.SubprocessError):
        return None, None


@cache
def _packages() -> dict[str, str]:
    versions = {OURS: __version__}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def digest_of_stage(code: Code, stage: Stage) -> str:
    """The digest of the code that gives a stage its meaning."""
    return code.digest(stage.runner, stage.kind, stage.name, stage.params)


def made_by_other_code(store: Store, stages: Iterable[Stage]) -> list[Stage]:
    """Those of the stages that are in the store and were made by code that has changed since."""
    code = Code()
    changed = []
    for stage in stages:
        try:
            text = (store.folder(stage) / "provenance.json").read_text()
            recorded = json.loads(text).get("source_digest")
        except (OSError, ValueError, AttributeError):  # not made, or made and damaged
            continue
        state = code.state(stage.runner, stage.kind, stage.name, stage.params, recorded)
        if state == "changed":
            changed.append(stage)
    return changed


def provenance(
    started: float, seconds: float, source_digest: str, tracker_url: str | None
) -> Provenance:
    """The provenance record of a stage that took `seconds` from `started` (Unix time) and was made
    by code of this digest (`digest_of_stage`)."""
    commit, dirty = _commit(Path(__file__).resolve().parents[2])
    torch = sys.modules.get("torch")  # a stage that never imported it used no GPU
    gpu = torch is not None and torch.cuda.is_available()
    device = torch.cuda.get_device_name(0) if torch and gpu else platform.processor() or "cpu"
    return {
        "commit": commit,
        "dirty": dirty,
        "packages": _packages(),
        "plugins": _plugins(),
        "python": platform.python_version(),
        "host": socket.gethostname(),
        "device": device,
        "cpus": len(os.sched_getaffinity(0)),
        "started": datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "arguments": [redact(argument) for argument in sys.argv[1:]],
        "source_digest": source_digest,
        "tracker_url": tracker_url,
    }
