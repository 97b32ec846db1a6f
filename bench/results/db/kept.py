"""What the database has and no stage's folder holds, as files: cells that are not done, imports.

In `BENCH_HOME`:

    records/cells/<label[:32]>.json    how a cell ended that is failed, interrupted or unsupported
    records/imports/<time>-<hash>.json the results of one `bench results import`
    records/notes/<label[:32]>.json    the note and the tags of a cell

They are there for `bench results rebuild`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypedDict

from bench.core.errors import BadInput
from bench.core.files import write_json
from bench.core.params import digest
from bench.results.db.checked import check_cell, check_import
from bench.results.db.records import CellRecord, ResultRecord

STATES = ("failed", "interrupted", "unsupported")  # that are kept: a cell that runs is interrupted

Note = Callable[[str], None]


class KeptCell(TypedDict):
    """A cell that is not done, and why."""

    cell: CellRecord
    state: str
    reason: str | None


def keep_cell(home: Path, cell: CellRecord, state: str, reason: str | None) -> None:
    """Keep how a cell ended; a cell that has begun again or is done is forgotten."""
    file = _cell_file(home, cell["label"])
    if state not in STATES:
        file.unlink(missing_ok=True)
        return
    record: KeptCell = {"cell": cell, "state": state, "reason": reason}
    if _read(file) == record:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, record)


def _cell_file(home: Path, label: str) -> Path:
    return home / "records" / "cells" / f"{label[:32]}.json"


def keep_import(home: Path, records: Sequence[ResultRecord]) -> None:
    """Keep the results of an import; the same file imported again is kept once, as the last."""
    folder = home / "records" / "imports"
    folder.mkdir(parents=True, exist_ok=True)
    mark = digest(list(records))[:16]
    older = list(folder.glob(f"*-{mark}.json"))
    write_json(folder / f"{time.time_ns():020d}-{mark}.json", list(records))
    for file in older:
        file.unlink(missing_ok=True)


def keep_annotation(home: Path, label: str, note: str, tags: Sequence[str]) -> None:
    """Keep the note and the tags of a cell; without either, the file goes."""
    file = home / "records" / "notes" / f"{label[:32]}.json"
    if not note and not tags:
        file.unlink(missing_ok=True)
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, {"label": label, "note": note, "tags": list(tags)})


def read_annotations(home: Path) -> Iterator[tuple[str, str, list[str]]]:
    """(label, note, tags) of every cell that has any; a torn file is left out."""
    for file in sorted((home / "records" / "notes").glob("*.json")):
        content = _read(file)
        if isinstance(content, dict):
            yield str(content["label"]), str(content["note"]), list(map(str, content["tags"]))


def forget_cell(home: Path, label: str) -> None:
    """Drop every file that is kept of a cell, and its results from the imports."""
    _cell_file(home, label).unlink(missing_ok=True)
    keep_annotation(home, label, "", ())
    for file in sorted((home / "records" / "imports").glob("*.json")):
        records = _read(file)
        if not isinstance(records, list):
            continue
        left = [r for r in records if r["cell"]["label"] != label]
        if not left:
            file.unlink(missing_ok=True)
        elif len(left) < len(records):
            write_json(file, left)


def read_cells(home: Path, note: Note) -> Iterator[tuple[CellRecord, str, str | None]]:
    """(cell, state, reason) of every cell that was kept; `note` gets a line for each that cannot
    be read."""
    for file in sorted((home / "records" / "cells").glob("*.json")):
        try:
            yield check_cell(_read(file), str(file))
        except BadInput as error:
            note(f"left out: {error}")


def read_imports(home: Path, note: Note) -> Iterator[tuple[Path, list[ResultRecord]]]:
    """The results of every import that was kept, the oldest first."""
    for file in sorted((home / "records" / "imports").glob("*.json")):
        records = _read(file)
        try:
            if not isinstance(records, list):
                raise BadInput(f"{file} cannot be read: torn or overwritten")
            yield file, check_import(records, str(file))
        except BadInput as error:
            note(f"left out: {error}")


def _read(file: Path) -> Any:
    """The parsed file; None where it is missing or torn."""
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
