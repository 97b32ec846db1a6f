"""What a training keeps on disk so that a kill costs seconds: checkpoints and the history of its
figures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict, cast

import torch
from torch import Tensor

from bench.core.files import write_atomically, write_text

LATEST, PREVIOUS = "checkpoint.pt", "previous.pt"
PROBED = "probe.jsonl"  # figures of probes, beside `history.jsonl`


class Checkpoint(TypedDict):
    """A training between two steps: how many are done, and the states of what they changed."""

    step: int
    network: dict[str, Tensor]
    optimizer: dict[str, Any]


def save_checkpoint(folder: Path, state: Checkpoint) -> None:
    """Write `state` atomically; the checkpoint before stays as `PREVIOUS`."""
    latest = folder / LATEST
    with write_atomically(latest) as partial:
        with open(partial, "wb") as file:
            torch.save(state, file)
        if latest.exists():
            latest.replace(folder / PREVIOUS)


def load_checkpoint(
    folder: Path, total_steps: int, note: Callable[[str], None]
) -> Checkpoint | None:
    """The newest checkpoint that is whole, or None; a damaged one is noted and passed over."""
    for name in (LATEST, PREVIOUS):
        path = folder / name
        if not path.exists():
            continue
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            whole = Checkpoint.__required_keys__ <= set(state)
            if whole and 0 <= int(state["step"]) <= total_steps:
                return cast(Checkpoint, state)
            reason = "it does not belong to this training"
        except Exception as error:  # each kind of damage raises another
            reason = f"it cannot be read ({type(error).__name__})"
        note(
            f"checkpoint {name} is not used, because {reason}; training goes on from the one "
            "before it, or from the start"
        )
    return None


class History:
    """`history.jsonl`: one row of figures per logged step, none twice however often training is
    resumed."""

    def __init__(self, path: Path, start_step: int) -> None:
        self.path = path
        kept = [row for row in read_history(path) if int(row["step"]) < start_step]
        write_text(path, "".join(json.dumps(row) + "\n" for row in kept))
        self.last: dict[str, float] = kept[-1] if kept else {}

    def add(self, row: dict[str, float]) -> None:
        self.last = row
        with open(self.path, "a", encoding="utf-8") as f:
            f.write(json.dumps(row) + "\n")


def read_history(path: Path) -> list[dict[str, float]]:
    """The rows of a `history.jsonl`, without the half-written last line of a killed training."""
    rows = []
    if path.exists():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(row, dict) and "step" in row:
                rows.append(row)
    return rows
