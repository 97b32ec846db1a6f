"""Check the store against the database, and restore the database from the store."""

from __future__ import annotations

import json
import pwd
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.core.errors import BadInput, BenchError
from bench.core.records import (
    DamagedFolder,
    check_folder,
    check_small_files,
    find_changed_files,
    read_done,
    read_provenance,
    survey,
)
from bench.core.stage import StageRecord
from bench.results.db.database import Database
from bench.results.db.journal import Origin
from bench.results.db.kept import read_annotations, read_cells, read_imports
from bench.results.db.records import ResultRecord
from bench.results.db.result_file import read_result


def rebuild(
    store_root: Path, database: Database, note: Callable[[str], None] = lambda line: None
) -> tuple[int, int]:
    """Record every committed stage and result; returns how many of each. `note` gets a line for
    every folder that is left out because it is not as it was written."""
    stages, results = list(_iterate_whole(store_root, note)), 0
    for folder, record in stages:
        place = f"{folder.parent.name}/{folder.name}"
        database.record_stage(record, place, read_provenance(folder))
    for folder, record in stages:  # after all stages: a crop's row names its data
        try:
            if record["kind"] == "crop_stats":
                database.record_crop(record, json.loads((folder / "stats.json").read_text()))
            if (folder / "result.json").exists():
                database.record_result(read_result(folder), origin=find_origin(folder))
                results += 1
        except (BenchError, OSError, ValueError) as error:
            note(f"left out: {error}")
    return len(stages), results


def restore_kept(
    home: Path, database: Database, note: Callable[[str], None] = lambda line: None
) -> tuple[int, int]:
    """Record what was imported, and how cells without a result ended, from the files that were
    kept of them; returns how many results and cells."""
    imported = cells = 0
    for file, results in read_imports(home, note):
        try:
            imported += database.record_import(results, str(file))[0]
        except BadInput as error:
            note(f"left out: {error}")
    known = {cell["label"] for cell in database.read_cells("done")}
    for cell, state, reason in read_cells(home, note):
        if cell["label"] not in known:
            database.record_cell(cell, state, reason)
            cells += 1
    for label, note_text, tags in read_annotations(home):
        if database.find_cells(label):
            database.annotate(label, note_text, tags)
    return imported, cells


def find_origin(folder: Path) -> Origin:
    """Who committed a folder, and when, as the file system says."""
    stat = (folder / "done").stat()
    try:
        user = pwd.getpwuid(stat.st_uid).pw_name
    except KeyError:
        user = ""
    return user, stat.st_mtime


def _iterate_whole(
    store_root: Path, note: Callable[[str], None]
) -> Iterator[tuple[Path, StageRecord]]:
    """The committed folders whose records are as they were written."""
    for folder, record in survey(store_root):
        try:
            if isinstance(record, DamagedFolder):
                raise record
            check_folder(folder, record["key"])
        except DamagedFolder as error:
            note(f"left out: {error}")
        else:
            yield folder, record


def find_problems(store_root: Path, database: Database) -> list[str]:
    """What does not hold: damaged files, results without a stage folder, numbers that differ."""
    problems: list[str] = []
    on_disk: dict[str, ResultRecord] = {}
    for folder, record in survey(store_root):
        if isinstance(record, DamagedFolder):
            problems.append(str(record))
            continue
        problems += _find_damage(folder)
        if (folder / "result.json").exists():
            try:
                on_disk[record["key"]] = read_result(folder)
            except BenchError as error:
                problems.append(str(error))
    for result in database.read_results():
        if result["source"] == "measured":
            problems += _find_difference(result, on_disk.pop(result["cell"]["label"], None))
    problems += [
        f"result {key[:12]} is not in the database; try: bench results rebuild" for key in on_disk
    ]
    return problems


def _find_damage(folder: Path) -> list[str]:
    """Every changed file of the folder, or else what does not agree in its small ones."""
    changed = find_changed_files(folder)
    if not changed:
        try:
            check_small_files(folder, read_done(folder))
        except DamagedFolder as error:
            return [str(error)]
    return changed


def _find_difference(result: ResultRecord, twin: ResultRecord | None) -> list[str]:
    label = result["cell"]["label"][:12]
    if twin is None:
        return [f"result {label} has no folder in the store"]
    if twin["metrics"] != result["metrics"]:
        return [f"result {label} differs from its result.json"]
    return []
