"""Make and upgrade databases with a fault at every call that changes a file.

    LD_PRELOAD=LIBRARY python -m tests.results.broken_off LIBRARY FOLDER STEP FAULT...

LIBRARY is tests/results/faults.c, compiled; FAULT is one of `FAULTS`; of every STEP calls one has
it, each FAULT another. Each try is a fork of this process, which has imported everything. Prints
JSON: for each start the number of calls and tries, and what did not hold.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import sqlite3
import sys
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import text

from bench.core.errors import BadInput
from bench.results.db.connection import for_writing, make_engine
from bench.results.db.database import open_database
from bench.results.db.schema import HEAD

COUNT, KILL, TORN, FULL, EIO_ONCE, EIO_ALWAYS = range(6)
FAULTS = {
    "killed": KILL,  # before the call
    "torn": TORN,  # killed amid a write, or before another call
    "full": FULL,  # from the call on
    "error": EIO_ONCE,
    "dead": EIO_ALWAYS,  # from the call on
}
STARTS = ("", "0001", "0002", "0003")  # schema of the database that is opened; "" is none
OPENED, REFUSED = 0, 2  # exit codes of a try
ROWS = {  # of the first schema
    "stages": ("k", "evaluate", "coco_det", 1, "{}", "{}", "evaluate/coco_det-k"),
    "provenance": ("k", '{"seconds": 2.5, "source_digest": "ast1:ab"}'),
    "cells": (
        *("k", "byol", "image", "coco_det", "tiny", "scenes", "d", "scenes", "d", "torchvision"),
        *(0, '{"coco_det.holdout": "0.2"}', "g", "bench run", "done", None),
    ),
    "results": (1, "k", "measured", "AP_bbox"),
    "metrics": (1, "AP_bbox", 31.5, 0),
}


def write_start(folder: Path, revision: str) -> None:
    """A database of an earlier schema with a row in each table."""
    folder.mkdir()
    if not revision:
        return
    engine = make_engine(f"sqlite:///{folder / 'results.db'}")
    config = Config()
    config.set_main_option("script_location", "bench.results:migrations")
    config.set_main_option("path_separator", "os")
    with for_writing(engine).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for table, row in ROWS.items():
            marks = ", ".join(f":v{i}" for i in range(len(row)))
            values = {f"v{i}": value for i, value in enumerate(row)}
            connection.execute(text(f"INSERT INTO {table} VALUES ({marks})"), values)
        command.upgrade(config, revision)
    engine.dispose()


def read_state(folder: Path) -> tuple[list[Any], list[Any]]:
    """What is in the database: its schema with its version, and the rows there were at first."""
    if not (folder / "results.db").exists():
        return [], []
    connection = sqlite3.connect(folder / "results.db")
    try:
        query = "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY 1"
        schema: list[Any] = connection.execute(query).fetchall()
        if any(name == "bench_version" for name, _ in schema):
            schema += connection.execute("SELECT version_num FROM bench_version").fetchall()
        tables = [table for table in ROWS if any(name == table for name, _ in schema)]
        rows = [connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables]
        damage = connection.execute("PRAGMA integrity_check").fetchall()
        first = [
            [row[: len(ROWS[table])] for row in some]
            for table, some in zip(tables, rows, strict=True)
        ]
        return schema, [*first, damage]
    finally:
        connection.close()


def attempt(library: ctypes.CDLL, folder: Path, at: int, mode: int) -> int:
    """Open the database in a fork with a fault; its exit code, negative where a signal ended
    it."""
    child = os.fork()
    if not child:
        code = 1
        try:
            library.fault_arm(ctypes.c_long(at), mode, str(folder).encode())
            open_database(f"sqlite:///{folder / 'results.db'}").engine.dispose()
            code = OPENED
        except BadInput as error:
            code = REFUSED if "\n" not in str(error) else 1
        finally:
            if mode == COUNT:
                (folder / "calls").write_text(str(library.fault_count()))
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def examine(
    library: ctypes.CDLL, start: Path, base: Path, step: int, faults: list[str]
) -> dict[str, Any]:
    """Each of the faults at every `step`-th call of opening a copy of `start`."""
    whole = shutil.copytree(start, base / "whole")
    assert attempt(library, whole, 0, COUNT) == OPENED
    calls = int((whole / "calls").read_text())
    (whole / "calls").unlink()
    old, new = read_state(start), read_state(whole)
    assert new[0][-1] == (HEAD,)
    wrong: list[str] = []
    tries = [(f, at) for i, f in enumerate(faults) for at in range(1 + i % step, calls + 1, step)]
    for name, at in tries:
        folder = shutil.copytree(start, base / "try")
        code = attempt(library, folder, at, FAULTS[name])
        problem = _find_problem(folder, code, old, new)
        if problem:
            wrong.append(f"{name} at call {at} of {calls}: {problem}")
        shutil.rmtree(folder)
    shutil.rmtree(whole)
    return {"calls": calls, "tries": len(tries), "wrong": wrong}


def _find_problem(folder: Path, code: int, old: Any, new: Any) -> str:
    """What does not hold after a try: "" where the database is the old one or the new one, and
    opens."""
    if code not in (OPENED, REFUSED, -9):
        return f"exit code {code}"
    between = read_state(folder)
    if between[0] not in ([], old[0], new[0]):
        return "neither the old schema nor the new one"
    try:
        open_database(f"sqlite:///{folder / 'results.db'}").engine.dispose()
    except BadInput as error:
        return str(error)
    return "" if read_state(folder) == new else "rows or tables are missing"


def main(path: str, base: str, step: str, *faults: str) -> None:
    library = ctypes.CDLL(path)
    report: dict[str, Any] = {}
    for revision in STARTS:
        start = Path(base) / f"from-{revision}"
        write_start(start, revision)
        report[revision or "nothing"] = examine(
            library, start, Path(base), int(step), list(faults)
        )
    json.dump(report, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
