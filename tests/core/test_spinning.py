"""How long OpenMP's threads wait: by what others use of the cores, settled before PyTorch is
loaded."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.core import spinning
from bench.core.spinning import (
    VARIABLES,
    Usage,
    begin_watching,
    count_others,
    describe_waiting,
    measure_usage,
    settle_waiting,
    sum_busy,
)


@pytest.fixture(autouse=True)
def nothing_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a command that ran in this process before."""
    monkeypatch.setattr(spinning, "_first", None)


def test_busy_time_is_that_of_the_cores_of_this_process_and_not_of_guests_twice() -> None:
    stat = (
        "cpu  900 0 0 900 0 0 0 0 0 0\n"
        "cpu0 10 2 3 500 40 5 6 7 8 1\n"
        "cpu1 100 0 0 0 0 0 0 0 0 0\n"
        "cpu10 1 0 0 9 0 0 0 0 0 0\n"
        "intr 12 0\n"
    )
    assert sum_busy(stat, {0}) == 10 + 2 + 3 + 5 + 6 + 7
    assert sum_busy(stat, {1, 10}) == 101


def test_others_are_what_is_used_less_ones_own() -> None:
    before, now = Usage(10.0, 100.0, 3.0), Usage(12.0, 103.5, 3.5)
    assert count_others(before, now) == pytest.approx(1.5)
    assert count_others(before, Usage(12.0, 100.4, 4.0)) == 0


@pytest.fixture
def without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)


@pytest.mark.parametrize(("cores", "settled"), [(0.0, False), (0.2, False), (0.4, True)])
@pytest.mark.usefixtures("without_torch")
def test_threads_wait_briefly_where_others_use_the_cores(
    cores: float, settled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process itself uses a core, which does not count."""
    usages = iter([Usage(0.0, 50.0, 1.0), Usage(1.0, 51.0 + cores, 2.0)])
    monkeypatch.setattr(spinning, "measure_usage", lambda: next(usages))
    environment: dict[str, str] = {}
    begin_watching()
    settle_waiting(environment)
    assert environment == ({"GOMP_SPINCOUNT": "1000"} if settled else {})


@pytest.mark.usefixtures("without_torch")
def test_in_no_time_nothing_can_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is anything waited for."""
    usages = iter([Usage(0.0, 50.0, 1.0), Usage(0.05, 51.0, 1.0)])
    monkeypatch.setattr(spinning, "measure_usage", lambda: next(usages))
    monkeypatch.setattr(spinning.time, "sleep", lambda seconds: pytest.fail("it waits"))
    environment: dict[str, str] = {}
    begin_watching()
    settle_waiting(environment)
    assert environment == {}


@pytest.mark.usefixtures("without_torch")
def test_what_was_noted_is_for_one_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cores were busy before the first command began, and are not while the second plans."""
    usages = iter([Usage(0.0, 0.0, 0.0), Usage(1.0, 1.0, 0.0), Usage(9.0, 90.0, 0.0)])
    later = [Usage(10.0, 90.1, 0.0)]
    monkeypatch.setattr(spinning, "measure_usage", lambda: next(usages, None) or later[0])
    begin_watching()
    first: dict[str, str] = {}
    settle_waiting(first)
    assert first == {"GOMP_SPINCOUNT": "1000"}
    second: dict[str, str] = {}
    settle_waiting(second)
    assert second == {}


@pytest.mark.parametrize("name", VARIABLES)
@pytest.mark.usefixtures("without_torch")
def test_what_somebody_set_stays(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    begin_watching()
    monkeypatch.setattr(spinning, "measure_usage", lambda: pytest.fail("nothing is measured"))
    environment = {name: "x"}
    settle_waiting(environment)
    assert environment == {name: "x"}
    assert describe_waiting(environment) == f"as set: {name}=x"


def test_where_pytorch_is_loaded_it_is_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: Any = SimpleNamespace(set_num_threads=lambda count: None)
    monkeypatch.setitem(sys.modules, "torch", loaded)
    begin_watching()
    monkeypatch.setattr(spinning, "measure_usage", lambda: pytest.fail("nothing is measured"))
    settle_waiting({})


@pytest.mark.usefixtures("without_torch")
def test_a_system_that_does_not_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spinning, "STAT", tmp_path / "none")
    environment: dict[str, str] = {}
    begin_watching()
    settle_waiting(environment)
    assert environment == {}
    assert "not known here" in describe_waiting(environment)


def use_a_core(seconds: float) -> None:
    until = sum(os.times()[:2]) + seconds
    while sum(os.times()[:2]) < until:
        pass


@pytest.fixture
def counted() -> None:
    """Skip where the system does not count what its cores do (not Linux, or some sandboxes)."""
    before = measure_usage()
    use_a_core(0.1)
    now = measure_usage()
    if before is None or now is None or now.cores == before.cores:
        pytest.skip("/proc/stat does not count here")


@pytest.fixture
def busy() -> Iterator[None]:
    """Another process that uses a core of this one."""
    code = "print(flush=True)\nwhile True: pass"
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert other.stdout is not None
    other.stdout.readline()
    yield
    other.kill()
    other.wait()


@pytest.mark.usefixtures("without_torch", "counted", "busy")
def test_another_process_is_seen() -> None:
    environment: dict[str, str] = {}
    begin_watching()
    time.sleep(0.3)  # what planning takes
    settle_waiting(environment)
    assert environment == {"GOMP_SPINCOUNT": "1000"}
    assert describe_waiting({}).startswith("briefly (GOMP_SPINCOUNT=1000)")


@pytest.mark.usefixtures("counted")
def test_the_own_time_is_that_of_this_process() -> None:
    before = measure_usage()
    use_a_core(0.2)
    now = measure_usage()
    assert before is not None
    assert now is not None
    assert now.own - before.own >= 0.15  # both are counted in hundredths of a second
    assert now.cores - before.cores >= 0.1
