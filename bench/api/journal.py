"""What was run, what people write about it, and how it is deleted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.api.request import Names
from bench.core.errors import BadInput, brief
from bench.core.store import Store
from bench.launch.session import open_runtime
from bench.results.db import journal
from bench.results.db.database import open_database
from bench.results.db.kept import forget_cell, keep_annotation

if TYPE_CHECKING:
    from bench.core.stage import StageRecord
    from bench.results.db.database import Database
    from bench.results.db.records import RunRecord, StoredCell

LEAST = 4  # digits of a key
LONGEST_NOTE, LONGEST_TAG = 2000, 64


def list_runs(
    limit: int | None = None,
    mine: bool = False,
    tag: str | None = None,
    method: Names | None = None,
    crop: Names | None = None,
    task: Names | None = None,
    scale: Names | None = None,
) -> list[RunRecord]:
    """Cells of every state, the last changed first. mine: those of this user alone."""
    from bench.api.tables import make_filters

    database = open_database(open_runtime().database)
    filters = make_filters(database, (method, crop, task, scale, None))
    return database.read_runs(limit, journal.user_name() if mine else None, tag, **filters)


def write_note(key: str, text: str) -> StoredCell:
    """Replace the note of the cell whose key starts with `key`; an empty text takes it away."""
    if len(text) > LONGEST_NOTE or not text.replace("\n", "").isprintable():
        raise BadInput(
            f"a note has at most {LONGEST_NOTE} printable letters, got {brief(text)}; try: bench "
            "note KEY 'a shorter one'"
        )
    return _annotate(key, text, None)


def change_tags(key: str, add: Sequence[str] = (), remove: Sequence[str] = ()) -> list[str]:
    """The tags of the cell whose key starts with `key`, with `add` and without `remove`."""
    for tag in add:
        if not 0 < len(tag) <= LONGEST_TAG or not tag.isprintable() or "," in tag:
            raise BadInput(
                f"a tag has at most {LONGEST_TAG} printable letters and no comma, got "
                f"{brief(tag)}; try: bench tag KEY ablation"
            )
    database = open_database(open_runtime().database)
    cell = find_cell(database, key)
    before = next(r["tags"] for r in database.read_runs(label=[cell["label"]]))
    tags = [tag for tag in dict.fromkeys([*before, *add]) if tag not in remove]
    _annotate(key, None, tags)
    return tags


def _annotate(key: str, note: str | None, tags: Sequence[str] | None) -> StoredCell:
    runtime = open_runtime()
    database = open_database(runtime.database)
    cell = find_cell(database, key)
    database.annotate(cell["label"], note, tags)
    now = next(iter(database.read_runs(label=[cell["label"]])))
    keep_annotation(runtime.home, cell["label"], now["note"], now["tags"])
    return cell


def find_cell(database: Database, key: str) -> StoredCell:
    """The one cell whose key starts with `key`."""
    cells = _find_cells(database, key)
    if len(cells) != 1:
        problem = f"{len(cells)} cells have keys that start" if cells else "no cell has a key"
        raise BadInput(f"{problem} with {brief(key)}; try: bench runs")
    return cells[0]


def _find_cells(database: Database, key: str) -> list[StoredCell]:
    if len(key) < LEAST:
        raise BadInput(f"at least {LEAST} digits of a key are needed, got {brief(key)}")
    return database.find_cells(key)


@dataclass(frozen=True)
class Target:
    """What `bench delete` is about: a stage of the store, a cell of the database, or both.

    folder: None where the store does not have the stage (any more). cell: None where it is no
    cell's last stage. size: bytes of the folder.
    """

    key: str
    name: str
    folder: Path | None
    cell: StoredCell | None
    size: int


def find_target(key: str) -> Target:
    """What would be deleted. BadInput where nothing or several things have such a key, and where
    other stages are made from it."""
    runtime = open_runtime()
    store, database = Store(runtime.home), open_database(runtime.database)
    cells = {cell["label"]: cell for cell in _find_cells(database, key)}
    committed = list(store.committed())
    stages = {r["key"]: (f, r) for f, r in committed if r["key"].startswith(key.lower())}
    keys = [*stages, *(label for label in cells if label not in stages)]
    if len(keys) != 1:
        problem = f"the keys of {len(keys)} stages start" if keys else "no stage has a key"
        raise BadInput(f"{problem} with {brief(key)}; try: bench runs, or bench plan --json ...")
    folder, record = stages.get(keys[0], (None, None))
    users = {_name(r) for _, r in committed if keys[0] in r["inputs"].values()}
    users |= set(database.find_users(keys[0]))
    if users:
        some = ", ".join(sorted(users)[:3])
        raise BadInput(
            f"{keys[0][:12]} is an input of {len(users)} stage(s): {some}; delete these first: "
            f"bench delete {min(users).split()[-1]}"
        )
    cell = cells.get(keys[0])
    name = _name(record) if record else f"evaluate/{cell['task']} {keys[0][:12]}" if cell else ""
    size = sum(f.lstat().st_size for f in folder.rglob("*") if f.is_file()) if folder else 0
    return Target(keys[0], name, folder, cell, size)


def _name(record: StageRecord) -> str:
    return f"{record['kind']}/{record['name']} {record['key'][:12]}"


def delete(target: Target) -> None:
    """Delete a stage's folder, then what the database and the kept files have of it. Killed on the
    way, it can be done again. BadInput where a process makes or uses the stage now."""
    runtime = open_runtime()
    if target.folder and not Store(runtime.home).remove(
        target.folder, target.key[:32], lambda folder: None
    ):
        raise BadInput(
            f"{target.name} is made or used by a process now; try again when it is done: bench "
            "status"
        )
    open_database(runtime.database).delete(target.key)
    forget_cell(runtime.home, target.key)
