"""Locks where a file system has none, and who holds one."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.core import identity
from bench.core.errors import BadInput
from bench.core.identity import is_dead, process_name
from bench.core.store import Store
from tests.core.runners import stage

HERE = ["-c", "from bench.core.identity import process_name; print(process_name())"]


def refuse_locks(monkeypatch: pytest.MonkeyPatch, code: int, calls: int = 10**9) -> None:
    """The next `calls` requests for a lock end with this error."""
    real, left = fcntl.lockf, [calls]

    def lockf(*arguments: Any) -> None:
        left[0] -= 1
        if left[0] >= 0:
            raise OSError(code, os.strerror(code))
        real(*arguments)

    monkeypatch.setattr(fcntl, "lockf", lockf)


NO_LOCKS = [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EIO]


@pytest.mark.parametrize("code", NO_LOCKS)
def test_a_file_system_without_locks_is_one_line(
    home: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    from bench.results.db.database import open_database

    store = Store(home)
    with store.lock(stage("a")):
        pass
    refuse_locks(monkeypatch, code)
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("waits for nobody"))

    def hold() -> None:
        with store.lock(stage("a")):
            pytest.fail("not locked")

    for ask in (
        hold,
        lambda: store.owner(stage("a")),
        lambda: open_database(f"sqlite:///{home / 'results.db'}"),
    ):
        with pytest.raises(BadInput, match="the file system of") as error:
            ask()
        assert os.strerror(code) in str(error.value)
        assert "BENCH_HOME=FOLDER" in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EAGAIN])
def test_a_taken_lock_is_waited_for(
    home: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    store, waited = Store(home), []  # type: tuple[Store, list[str]]
    refuse_locks(monkeypatch, code, calls=2)
    with store.lock(stage("a"), waited.append):
        assert waited == ["another process"]


def test_a_process_that_ended_is_dead_and_this_one_is_not() -> None:
    ended = subprocess.run([sys.executable, *HERE], capture_output=True, text=True, check=True)
    name = ended.stdout.strip()
    assert is_dead(name)
    assert not is_dead(process_name())
    host, pid, rest = process_name().split(":")
    assert is_dead(f"{host}:{pid}:1{rest}"), "a later process has its number"


@pytest.mark.parametrize("part", ["boot", "namespace", "host", "all"])
def test_a_process_of_another_container_is_not_told_dead(part: str) -> None:
    """Its number names no process here, or another one."""
    ended = subprocess.run([sys.executable, *HERE], capture_output=True, text=True, check=True)
    place, _, space = ended.stdout.strip().rpartition("/")
    boot, _, namespace = space.partition(".")
    host, _, rest = place.partition(":")
    name = {
        "boot": f"{place}/{boot[::-1]}x.{namespace}",
        "namespace": f"{place}/{boot}.{int(namespace) + 1}",
        "host": f"{host}x:{rest}/{space}",
        "all": place,  # as versions before 0.2 wrote it
    }[part]
    assert not is_dead(name)


def test_an_owner_in_another_container_is_named_so(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import sys; from bench.core.store import Store; from tests.core.runners import stage;"
        f"from pathlib import Path; s = Store(Path({str(home)!r}));\n"
        "with s.lock(stage('a')): print('held', flush=True); sys.stdin.read()"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    assert owner.stdout.readline() == "held\n"
    name = f"{socket.gethostname()} pid {owner.pid}"
    assert Store(home).owner(stage("a")) == name
    monkeypatch.setattr("bench.core.store.pid_space", lambda: identity.pid_space() + "1")
    assert Store(home).owner(stage("a")) == f"{name} of another container"
    owner.communicate("")
