"""Fixtures of the suite: a home of its own, and one folder for what its files share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh BENCH_HOME; the environment of the person who runs the suite plays no part."""
    folder = tmp_path / "home"
    monkeypatch.setenv("BENCH_HOME", str(folder))
    for name in ("BENCH_DB", "BENCH_DATA", "BENCH_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BENCH_TRACKER", "none")
    return folder


@pytest.fixture(scope="session")
def common_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all processes of a run: what one of them makes the others find."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "conformance"
    folder.mkdir(exist_ok=True)
    return folder
