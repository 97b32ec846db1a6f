"""Hashes that are remembered between runs: only for the very same file, and never against what is
read when a stage is made."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from bench.contracts import registry
from bench.core.errors import BenchError
from bench.core.params import Runtime
from bench.core.store import Store
from bench.data import files
from bench.data.files import content_hash, contents_hash, ignore_remembered, list_files
from bench.data.runner import write_sample
from bench.launch.local import LocalEngine, Silent
from bench.stages.files import file_stage


def runtime(home: Path) -> Runtime:
    return Runtime(home=home, database="sqlite://", tracker="none", devices="cpu", workers=0)


def write_keeping_time(file: Path, content: bytes) -> None:
    """New content under the name, the size and the time stamp of before, as archives do."""
    before = file.stat()
    assert len(content) == before.st_size
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def swap_keeping_time(file: Path, content: bytes) -> None:
    """The same by renaming another file to it (`cp -p` elsewhere, `mv` here)."""
    before = file.stat()
    other = file.with_suffix(".new")
    other.write_bytes(content)
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(other, file)


CHANGES = [write_keeping_time, swap_keeping_time]


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every hash may be remembered at once, as if the files were old."""
    monkeypatch.setattr(files, "SETTLED_NS", -(10**12))


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_under_equal_size_and_time_is_seen(tmp_path: Path, change: object) -> None:
    assert callable(change)
    file, cache = tmp_path / "a.bin", tmp_path / "cache"
    file.write_bytes(b"one")
    first = (
        content_hash(file, cache),
        contents_hash(tmp_path, ["./a.bin"], list_files(tmp_path, ["."]), cache),
    )
    change(file, b"two")
    second = (
        content_hash(file, cache),
        contents_hash(tmp_path, ["./a.bin"], list_files(tmp_path, ["."]), cache),
    )
    assert first[0] != second[0]
    assert first[1] != second[1]


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    reads: list[Path] = []
    real = files.hash_file

    def hash_file(path: Path) -> str:
        reads.append(path)
        return real(path)

    monkeypatch.setattr(files, "hash_file", hash_file)
    return reads


def test_a_hash_is_remembered_once_the_file_has_settled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, cache = tmp_path / "a.bin", tmp_path / "cache"
    file.write_bytes(b"one")
    reads = count_reads(monkeypatch)
    for _ in range(2):
        content_hash(file, cache)
    assert len(reads) == 2, "changed less than two seconds ago: a second change may look the same"
    monkeypatch.setattr(files.time, "time_ns", lambda: file.stat().st_ctime_ns + 3 * 10**9)
    for _ in range(3):
        content_hash(file, cache)
    assert len(reads) == 3
    with ignore_remembered():
        content_hash(file, cache)
    assert len(reads) == 4


@pytest.mark.usefixtures("settled")
def test_corrected_labels_of_equal_size_and_time_are_other_data(
    home: Path, tmp_path: Path
) -> None:
    coco: Any = registry.load("data", "coco")
    root = tmp_path / "coco"
    root.mkdir()
    write_sample(coco, root, 4, 2)
    data = coco.resolve("tiny", {})
    before = data.stage(root, runtime(home)).key
    assert data.stage(root, runtime(home)).key == before
    labels = root / "annotations" / "instances_val2017.json"
    text = labels.read_bytes()
    changed = text.replace(b'"iscrowd": 0', b'"iscrowd": 1', 1)
    assert changed != text
    write_keeping_time(labels, changed)
    assert data.stage(root, runtime(home)).key != before


def engine(home: Path, run: Runtime) -> LocalEngine:
    return LocalEngine(run, Store(home), Silent())


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_file_swapped_after_planning_is_refused(home: Path, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    file = folder / "model.yml"
    file.write_bytes(b"one")
    run = runtime(home)
    stage = file_stage("edges", str(file if kind == "file" else folder), run, "x.model")
    write_keeping_time(file, b"two")
    with pytest.raises(BenchError, match="changed since this run began") as error:
        engine(home, run).ensure(stage)
    assert "\n" not in str(error.value)
    assert not Store(home).has(stage)
    write_keeping_time(file, b"one")
    assert (engine(home, run).ensure(stage) / "model.yml").read_bytes() == b"one"


def test_data_swapped_after_planning_are_refused(home: Path, tmp_path: Path) -> None:
    coco: Any = registry.load("data", "coco")
    root = tmp_path / "coco"
    root.mkdir()
    write_sample(coco, root, 4, 2)
    run = runtime(home)
    stage = coco.resolve("tiny", {}).stage(root, run)
    labels = root / "annotations" / "instances_val2017.json"
    shutil.copy(labels, tmp_path / "kept.json")
    text = labels.read_bytes()
    write_keeping_time(labels, text.replace(b'"iscrowd": 0', b'"iscrowd": 1', 1))
    with pytest.raises(BenchError, match="changed since this run began"):
        engine(home, run).ensure(stage)
    assert not Store(home).has(stage)
    shutil.copy(tmp_path / "kept.json", labels)
    assert engine(home, run).ensure(stage).is_dir()
