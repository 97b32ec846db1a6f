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
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench import __version__
from bench.contracts.source import Code
from bench.core.redact import redact
from bench.core.stage import Provenance, Stage
from bench.core.store import Store

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

    def git(*args: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *args],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "bench/core/stage.py")
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None, None


@cache
def _packages() -> dict[str, str]:
    versions = {"ssl-crop-bench": __version__}
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
