"""A PostgreSQL server of the tests: its own folder, a unix socket, gone when they are."""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest

USER = "postgres"  # the server refuses to run as root; Debian's package makes this user


@dataclass
class Server:
    """A running server."""

    programs: Path
    folder: Path
    process: Any = None
    numbers: Iterator[int] = field(default_factory=count)

    def database(self) -> str:
        """The URL of a new, empty database."""
        name = f"bench{next(self.numbers)}"
        self.sql("postgres", f"CREATE DATABASE {name}")
        return f"postgresql+psycopg://{USER}@/{name}?host={self.folder}"

    def sql(self, name: str, *statements: str) -> list[Any]:
        """The rows of the last statement."""
        import psycopg

        with psycopg.connect(
            host=str(self.folder), user=USER, dbname=name, autocommit=True
        ) as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def end_connections(self, name: str) -> int:
        """Terminate every connection to a database; how many there were."""
        return len(
            self.sql(
                "postgres",
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
            )
        )

    def start(self) -> None:
        options = [
            "-D",
            str(self.folder / "data"),
            "-k",
            str(self.folder),
            "-c",
            "listen_addresses=",
        ]
        self.process = subprocess.Popen(
            [str(self.programs / "postgres"), *options, "-c", "fsync=off"],
            **_as_user(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=_die_with_us,
        )
        until = time.monotonic() + 60
        while subprocess.run(
            [str(self.programs / "pg_isready"), "-q", "-h", str(self.folder)], check=False
        ).returncode:
            assert self.process.poll() is None, "the server ended"
            assert time.monotonic() < until, "the server does not answer"
            time.sleep(0.1)

    def stop(self) -> None:
        """As an administrator does it: connections are ended."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(60)


@contextmanager
def server() -> Iterator[Server]:
    """A new server; skips, with the reason, where there is none to start."""
    pytest.importorskip("psycopg", reason="the extra `postgres` is not installed")
    programs = _programs()
    if programs is None:
        pytest.skip("no PostgreSQL server is installed (Debian: apt-get install postgresql)")
    if os.geteuid() == 0 and not _user_exists():
        pytest.skip(f"PostgreSQL does not run as root, and there is no user {USER}")
    # a socket's path has 107 bytes
    folder = Path(tempfile.mkdtemp(prefix="bench-pg-", dir="/tmp"))
    if os.geteuid() == 0:
        shutil.chown(folder, USER, USER)
    made = Server(programs, folder)
    try:
        initdb = [
            str(programs / "initdb"),
            "-U",
            USER,
            "-A",
            "trust",
            "--no-sync",
            str(folder / "data"),
        ]
        subprocess.run(initdb, check=True, capture_output=True, **_as_user())
        made.start()
        try:
            yield made
        finally:
            made.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    path = shutil.which("postgres")
    return found[-1].parent if found else Path(path).resolve().parent if path else None


def _user_exists() -> bool:
    return any(entry.pw_name == USER for entry in pwd.getpwall())


def _as_user() -> dict[str, Any]:
    return {"user": USER, "group": USER, "cwd": "/"} if os.geteuid() == 0 else {}


def _die_with_us() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
