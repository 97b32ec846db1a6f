"""Every test gets its own BENCH_HOME, no tracker, no network, few threads."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.forked import share_one_server
from tests.postgres import Server, server

# What a shell starts in the background is deaf to Ctrl-C, and so is what that starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
share_one_server()


def pytest_configure(config: pytest.Config) -> None:
    """One thread where processes share the cores: with more threads than cores they wait by
    spinning. The process that starts the others decides, because they inherit what it sets."""
    several = "PYTEST_XDIST_WORKER" in os.environ or config.getoption("numprocesses", None)
    os.environ.setdefault("OMP_NUM_THREADS", "1" if several else "2")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh BENCH_HOME; the environment of the person who runs the tests plays no part."""
    folder = tmp_path / "home"
    monkeypatch.setenv("BENCH_HOME", str(folder))
    for name in ("BENCH_DB", "BENCH_DATA", "BENCH_DEBUG", "WANDB_API_KEY", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BENCH_TRACKER", "none")
    monkeypatch.setenv("WANDB_MODE", "offline")
    return folder


@pytest.fixture(autouse=True)
def one_test_sets_no_threads_of_the_next() -> Iterator[None]:
    """Processes with more threads than they have cores spin, at many times the cost."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


@pytest.fixture(scope="session")
def common_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all processes of a run: what one of them trains the others find."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "common"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server of our own."""
    with server() as running:
        yield running


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images that BENCH_REAL_DATA names."""
    given = os.environ.get("BENCH_REAL_DATA")
    if not given or not Path(given).is_dir():
        pytest.skip("BENCH_REAL_DATA names no folder of real images")
    return Path(given)
