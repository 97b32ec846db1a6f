"""Sending W&B runs that were kept offline, by W&B's own command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from bench.core.errors import BadInput
from bench.launch.wandb_login import Tracking, find_tracking

OFFLINE = "offline-run-"  # the beginning of the folder of a run
SENT = ".synced"  # the ending of the mark that W&B leaves beside the file of a run it has sent


def list_offline_runs(home: Path) -> list[Path]:
    """The folders of the offline runs in a BENCH_HOME that have not been sent, the oldest
    first."""
    return sorted(
        folder
        for folder in (home / "wandb").glob(f"{OFFLINE}*")
        if any(folder.glob("*.wandb")) and not any(folder.glob(f"*.wandb{SENT}"))
    )


def check_login() -> Tracking:
    """Where runs are sent; BadInput where nobody is logged in there. WANDB_MODE does not matter:
    it says what happens to new runs."""
    asked = os.environ.pop("WANDB_MODE", None)
    try:
        os.environ["WANDB_MODE"] = "online"
        tracking = find_tracking()
    finally:
        del os.environ["WANDB_MODE"]
        if asked is not None:
            os.environ["WANDB_MODE"] = asked
    if tracking.mode != "online":
        raise BadInput(f"W&B runs cannot be sent: {tracking.reason}; try: bench doctor")
    return tracking


def send(folders: list[Path], project: str = "", entity: str = "") -> int:
    """Send runs of one BENCH_HOME, where W&B writes its log; what it prints goes to the terminal.
    The exit code of its command."""
    options = [f"--project={project}"] if project else []
    options += [f"--entity={entity}"] if entity else []
    environment = {k: v for k, v in os.environ.items() if k not in ("WANDB_MODE", "WANDB_SILENT")}
    command = [sys.executable, "-m", "wandb", "sync", *options, *map(str, folders)]
    return subprocess.run(
        command, env=environment, cwd=folders[0].parents[1], stdin=subprocess.DEVNULL
    ).returncode
