"""Check the store against the database, and restore the database from the store."""

from __future__ import annotations

import json
from pathlib import Path

from bench.core.errors import BenchError
from bench.core.files import hash_file
from bench.core.store import committed, read_done
from bench.results.db.database import Database
from bench.results.db.records import ResultRecord
from bench.results.db.result_file import read_result


def rebuild(store_root: Path, database: Database) -> tuple[int, int]:
    """Record every committed stage and result; returns how many of each."""
    stages, results = list(committed(store_root)), 0
    for folder, record in stages:
        provenance = json.loads((folder / "provenance.json").read_text())
        database.record_stage(record, f"{folder.parent.name}/{folder.name}", provenance)
    for folder, record in stages:  # after all stages: a crop's row names its data
        if record["kind"] == "crop_stats":
            database.record_crop(record, json.loads((folder / "stats.json").read_text()))
        if (folder / "result.json").exists():
            database.record_result(read_result(folder))
            results += 1
    return len(stages), results


def find_problems(store_root: Path, database: Database) -> list[str]:
    """What does not hold: damaged files, results without a stage folder, numbers that differ."""
    problems: list[str] = []
    on_disk: dict[str, ResultRecord] = {}
    for folder, record in committed(store_root):
        problems += _find_damage(folder, record["key"])
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


def _find_damage(folder: Path, key: str) -> list[str]:
    done = read_done(folder)
    if done is None or done["key"] != key:
        return [f"{folder}: its done record is damaged"]
    return [
        f"{folder / name}: missing or changed since it was written"
        for name, entry in done["files"].items()
        if not (folder / name).exists() or hash_file(folder / name) != entry["sha256"]
    ]


def _find_difference(result: ResultRecord, twin: ResultRecord | None) -> list[str]:
    label = result["cell"]["label"][:12]
    if twin is None:
        return [f"result {label} has no folder in the store"]
    if twin["metrics"] != result["metrics"]:
        return [f"result {label} differs from its result.json"]
    return []
