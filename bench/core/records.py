"""The records of a committed folder, read and checked in one place.

`done` has every file's size and hash. The small files (`CHECKED`) are compared with it whenever
the folder is used, the others before the stage is an input of another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self, TypedDict, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bench.core.errors import BadData
from bench.core.files import hash_file
from bench.core.stage import Provenance, StageRecord

RECORDS = ("stage.json", "provenance.json")  # every committed folder has them
CHECKED = (*RECORDS, "metrics.json", "result.json")  # what numbers and their origin are read from


class DamagedFolder(BadData):
    """A committed folder whose records are torn, or that is not as it was written."""


class FileRecord(TypedDict):
    """A file of a committed folder."""

    size: int  # in bytes
    sha256: str


class DoneRecord(TypedDict):
    """The content of `done`: the stage, and its files by their path in the folder."""

    key: str
    files: dict[str, FileRecord]


class _File(BaseModel):
    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class _Done(BaseModel):
    key: str
    files: dict[str, _File]

    @model_validator(mode="after")
    def _names_the_records(self) -> Self:
        missing = [name for name in RECORDS if name not in self.files]
        if missing:
            raise ValueError(f"it does not list {' and '.join(missing)}")
        return self


class _Stage(BaseModel):
    key: str = Field(pattern=r"^[0-9a-f]{64}$")
    kind: str
    name: str
    version: int
    params: dict[str, Any]
    runner: str = ""
    inputs: dict[str, str]


class _Provenance(BaseModel):
    """Every key may be missing; ones that other versions wrote are kept."""

    model_config = ConfigDict(extra="allow")

    commit: str | None = None
    dirty: bool | None = None
    packages: dict[str, str] = {}
    plugins: dict[str, dict[str, Any]] = {}
    python: str = ""
    host: str = ""
    device: str = ""
    cpus: int = 0
    started: str = ""
    seconds: float = 0.0
    peak_memory_mib: int = 0
    arguments: list[str] = []
    source_digest: str = ""
    tracker_url: str | None = None


M = TypeVar("M", bound=BaseModel)


def read_done(folder: Path) -> DoneRecord:
    """The `done` record; DamagedFolder where it is missing, torn, or lists no records."""
    return cast("DoneRecord", _read(folder, "done", _Done))


def read_stage(folder: Path) -> StageRecord:
    """The `stage.json` of a committed folder; DamagedFolder where it is not a whole record."""
    return cast("StageRecord", _read(folder, "stage.json", _Stage))


def read_provenance(folder: Path) -> Provenance:
    """The `provenance.json` of a committed folder; DamagedFolder where it is not a whole
    record."""
    return cast("Provenance", _read(folder, "provenance.json", _Provenance))


def read_metrics(folder: Path) -> dict[str, float]:
    """The metrics of a committed folder, once all its small files have been checked against
    `done`."""
    check_small_files(folder, read_done(folder))
    return dict(_parse(folder, "metrics.json"))


def check_folder(folder: Path, key: str) -> None:
    """DamagedFolder unless `folder` holds stage `key`, with every file there in its size and the
    small ones with their content."""
    done = read_done(folder)
    if done["key"] != key:
        raise DamagedFolder(f"{folder}: its done record is of another stage")
    for name, entry in done["files"].items():
        size = _size(folder / name)
        if size != entry["size"]:
            there = "missing" if size < 0 else f"of {size} bytes instead of {entry['size']}"
            raise DamagedFolder(f"{folder / name} is {there}")
    check_small_files(folder, done)


def check_small_files(folder: Path, done: DoneRecord) -> None:
    """DamagedFolder unless each of `CHECKED` is as it was written, and result and metrics
    agree."""
    present = [name for name in CHECKED if name in done["files"] or (folder / name).exists()]
    for name in present:
        entry = done["files"].get(name)
        if entry is None:
            raise DamagedFolder(f"{folder / name} was added after the stage was finished")
        try:
            content = (folder / name).read_bytes()
        except OSError as error:
            raise DamagedFolder(f"{folder / name} cannot be read ({error.strerror})") from None
        if hashlib.sha256(content).hexdigest() != entry["sha256"]:
            raise DamagedFolder(f"{folder / name} was changed after the stage was finished")
    if "result.json" in present:
        _check_agreement(folder, done["key"])


def _check_agreement(folder: Path, key: str) -> None:
    """The result is of this stage and has the numbers of `metrics.json`."""
    result, metrics = _parse(folder, "result.json"), _parse(folder, "metrics.json")
    if not isinstance(result.get("cell"), dict) or result["cell"].get("label") != key:
        raise DamagedFolder(f"{folder}/result.json is the result of another stage")
    if result.get("metrics") != metrics:
        raise DamagedFolder(f"{folder}: result.json and metrics.json do not agree")


def find_changed_files(folder: Path) -> list[str]:
    """One line for every file that is missing or changed, large ones too; DamagedFolder where
    `done` cannot be read."""
    return [
        f"{folder / name}: missing or changed since it was written"
        for name, entry in read_done(folder)["files"].items()
        if _size(folder / name) != entry["size"] or _hash(folder / name) != entry["sha256"]
    ]


def survey(root: Path) -> Iterator[tuple[Path, StageRecord | DamagedFolder]]:
    """Every stage folder under a store's `root`: its stage record, or what is wrong with its
    records."""
    for folder in sorted(path for path in root.glob("*/*") if path.is_dir()):
        try:
            record = read_stage(folder)
            if read_done(folder)["key"] != record["key"]:
                raise DamagedFolder(f"{folder}: done and stage.json are of different stages")
            read_provenance(folder)
            yield folder, record
        except DamagedFolder as error:
            yield folder, error


def _parse(folder: Path, name: str) -> dict[str, Any]:
    try:
        value = json.loads((folder / name).read_bytes())
    except OSError as error:
        raise DamagedFolder(f"{folder / name} cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):
        raise DamagedFolder(f"{folder / name} is not JSON: torn or overwritten") from None
    if not isinstance(value, dict):
        raise DamagedFolder(f"{folder / name} is not a record: it has no named fields")
    return value


def _read(folder: Path, name: str, model: type[M]) -> dict[str, Any]:
    value = _parse(folder, name)
    try:
        model.model_validate(value, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        problem = first["msg"].removeprefix("Value error, ").lower()
        raise DamagedFolder(f"{folder / name} is not a whole record: {where}: {problem}") from None
    return value


def _hash(path: Path) -> str:
    try:
        return hash_file(path)
    except OSError:
        return "cannot be read"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
