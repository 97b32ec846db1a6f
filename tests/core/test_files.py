"""Atomic writes: a reader sees the old file or the whole new one."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from bench.core.errors import StageFailed
from bench.core.files import hash_file, write_atomically, write_bytes, write_json, write_text


class Killed(BaseException):
    """What stands for a kill."""


def test_what_is_written_is_there_and_nothing_beside_it(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"\x00\xff")
    write_text(tmp_path / "b", "Größe\n")
    write_json(tmp_path / "c", {"z": 1, "a": [1.5, None]})
    write_text(tmp_path / "d", "shared", shared=True)
    assert (tmp_path / "a").read_bytes() == b"\x00\xff"
    assert (tmp_path / "b").read_bytes() == "Größe\n".encode()
    assert (tmp_path / "c").read_text() == '{\n "a": [\n  1.5,\n  null\n ],\n "z": 1\n}\n'
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "c", "d"]


def half_write(file: Path, dies: bool) -> None:
    with write_atomically(file) as partial:
        partial.write_text("[2")
        if dies:
            raise Killed


@pytest.mark.parametrize("moment", ["write", "fsync", "replace"])
def test_a_kill_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    def die(*_: Any) -> None:
        raise Killed

    file = tmp_path / "scores.json"
    write_json(file, [1])
    with monkeypatch.context() as patch:
        if moment != "write":
            patch.setattr(os, moment, die)
        with pytest.raises(Killed):
            half_write(file, dies=moment == "write")
    assert json.loads(file.read_text()) == [1]
    write_json(file, [3])  # the next try
    assert json.loads(file.read_text()) == [3]
    assert [p.name for p in tmp_path.iterdir()] == ["scores.json"]


def test_the_file_is_on_the_disk_before_it_takes_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)

        def record(*arguments: Any, name: str = name, real: Any = real) -> Any:
            calls.append(name)
            return real(*arguments)

        monkeypatch.setattr(os, name, record)
    write_text(tmp_path / "file", "text")
    assert calls == ["fsync", "replace"]


def test_processes_that_write_one_file_do_not_share_its_part(tmp_path: Path) -> None:
    with write_atomically(tmp_path / "mark", shared=True) as partial:
        partial.write_text("mine")
        assert partial.name == f"mark.{os.getpid()}.part"


def test_json_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match=r"cannot write a\.json: No such file"):
        write_json(tmp_path / "missing" / "a.json", 1)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", float("nan"))
    assert list(tmp_path.iterdir()) == []


def test_hash_file(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5000
    (tmp_path / "file").write_bytes(content)
    assert hash_file(tmp_path / "file") == hashlib.sha256(content).hexdigest()
