"""What is being made, and for which cells: a note in a stage's work folder, for those who watch.

The store's own records are written when the stage is whole. This note is in `_scratch`, which a
commit deletes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypedDict

from bench.core.errors import StageFailed
from bench.core.files import write_json
from bench.core.stage import Stage, StageRecord
from bench.core.store import SCRATCH

NOTE = "running.json"


class Work(TypedDict):
    """A stage that is being made, and the labels of the cells that need it."""

    stage: StageRecord
    cells: list[str]


def note_work(folder: Path, stage: Stage, cells: Sequence[str]) -> None:
    """Leave the note in the stage's work folder. A full disk has no room for it, which ends
    nothing here."""
    work: Work = {"stage": stage.record(), "cells": list(cells)}
    with suppress(OSError, StageFailed):
        (folder / SCRATCH).mkdir(exist_ok=True)
        write_json(folder / SCRATCH / NOTE, work)


def list_work(home: Path) -> Iterator[tuple[Path, Work]]:
    """Every work folder with a note; those of commands that were killed are among them."""
    for file in sorted((home / "work").glob(f"*/{SCRATCH}/{NOTE}")):
        with suppress(OSError, ValueError, KeyError, TypeError):
            yield file.parents[1], _check(json.loads(file.read_text()))


def _check(work: Any) -> Work:
    stage = work["stage"]
    texts = [stage["kind"], stage["name"], stage["key"], *work["cells"]]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a name is no text")
    return {"stage": stage, "cells": list(work["cells"])}
