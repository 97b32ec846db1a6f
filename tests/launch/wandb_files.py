"""Offline W&B runs read back: the records of their files by W&B's own protocol buffers, in the log
format of LevelDB (https://github.com/google/leveldb/blob/main/doc/log_format.md)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2 as messages

from tests.patience import HANG

HEADER = 7  # bytes before the first record, and of a record before its data
BLOCK = 32 * 1024


@dataclass
class OfflineRun:
    """What W&B would be sent. history: rows of figures. cpus: of the machine. measured: how often
    the machine's load was. files: by their path in the run."""

    folder: Path
    id: str = ""
    name: str = ""
    group: str = ""
    job_type: str = ""
    project: str = ""
    entity: str = ""
    notes: str = ""
    commit: str = ""
    cpus: int = 0
    measured: int = 0
    exit_code: int = -1
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)

    def media(self, name: str) -> list[Path]:
        """The files of a picture or a table."""
        return sorted((self.folder / "files" / "media").rglob(f"{name}_*"))

    def table(self, name: str) -> dict[str, Any]:
        """A table: its columns and data."""
        (file,) = self.media(name)
        content: dict[str, Any] = json.loads(file.read_text())
        return content


def read_runs(home: Path) -> list[OfflineRun]:
    """The offline runs of a BENCH_HOME, the oldest first. All have ended: W&B's own process is
    waited for, which may still be writing when `finish` returns."""
    end = time.monotonic() + HANG
    while True:
        runs = [read_run(folder) for folder in sorted((home / "wandb").glob("offline-run-*"))]
        writing = [run.folder for run in runs if run.exit_code < 0]
        if not writing:
            return runs
        assert time.monotonic() < end, writing
        time.sleep(0.05)


def read_run(folder: Path) -> OfflineRun:
    (file,) = folder.glob("*.wandb")
    run = OfflineRun(folder)
    for data in read_log(file):
        record = messages.Record()
        record.ParseFromString(data)
        _add(run, record)
    return run


def _add(run: OfflineRun, record: Any) -> None:
    kind = record.WhichOneof("record_type")
    if kind == "run":
        mine = record.run
        run.id, run.name, run.group = mine.run_id, mine.display_name, mine.run_group
        run.job_type, run.project, run.entity = mine.job_type, mine.project, mine.entity
        run.notes, run.tags, run.commit = mine.notes, list(mine.tags), mine.git.commit
        run.config = {u.key: json.loads(u.value_json) for u in mine.config.update}
        run.config.pop("_wandb", None)
    elif kind == "summary":
        run.summary |= {_key(u): json.loads(u.value_json) for u in record.summary.update}
    elif kind == "history":
        run.history.append({_key(i): json.loads(i.value_json) for i in record.history.item})
    elif kind == "environment":
        run.cpus = record.environment.cpu_count or run.cpus
    elif kind == "stats":
        run.measured += 1
    elif kind == "exit":
        run.exit_code = record.exit.exit_code


def _key(item: Any) -> str:
    return item.key or ".".join(item.nested_key)


def read_log(file: Path) -> Iterator[bytes]:
    """The records of a log: pieces of (checksum 4 bytes, length 2, kind 1, data) that do not cross
    blocks; kinds: 1 whole, 2 first, 3 middle, 4 last."""
    content, at, record = file.read_bytes(), HEADER, b""
    while at + HEADER <= len(content):
        left = BLOCK - at % BLOCK
        if left < HEADER:
            at += left
            continue
        length, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        if at + HEADER + length > len(content):
            return  # still being written
        record += content[at + HEADER : at + HEADER + length]
        at += HEADER + length
        if kind in (1, 4):
            yield record
            record = b""
