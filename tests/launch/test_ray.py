"""The Ray launcher on a real cluster of two machines (Ray's own testing utility), all on
127.0.0.1."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.core.errors import BadInput
from bench.core.params import Runtime
from bench.results.db.database import open_database
from tests.e2e.faults import alive, command, plan
from tests.launch.driver import Driver, make_expected
from tests.patience import HANG

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")

CELLS = 4


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two machines of one CPU each, beside a head without any."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", os.getcwd())
        # Ray's switch for systems with firewalls: without it 127.0.0.1 becomes the machine's own
        # address.
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        small = {
            "node_ip_address": "127.0.0.1",
            "object_store_memory": 100 << 20,
            "include_dashboard": False,
        }
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **small})
        try:
            small.pop("include_dashboard")
            made.machine = lambda: made.add_node(num_cpus=1, memory=4 << 30, **small)
            made.machine()
            made.machine()
            made.wait_for_nodes()
            yield made
        finally:
            made.shutdown()


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make_expected(tmp_path_factory.mktemp("expected") / "home", CELLS)


class Run(Driver):
    """The command on the cluster."""

    def __init__(self, home: Path, cluster: Any) -> None:
        line = command(
            home,
            f"sqlite:///{home}/results.db",
            launcher="ray",
            ray_address=cluster.address,
            threads=1,
            cells=CELLS,
        )
        super().__init__(home, line, CELLS)

    def check(self, expected: dict[str, str], lost: int) -> None:
        super().check(expected, lost)
        assert not list((self.home / "damaged").glob("*"))


def stage_workers() -> list[int]:
    """Ray workers that make a stage now; Ray titles them by their task."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                title = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if title.startswith((b"ray::pretrain", b"ray::evaluate")):
                found.append(int(folder.name))
    return found


@pytest.fixture
def run(home: Path, cluster: Any) -> Iterator[Run]:
    made = Run(home, cluster)
    yield made
    made.process.kill()
    made.process.communicate()


def test_a_matrix_on_two_machines_equals_one_process(run: Run, expected: dict[str, str]) -> None:
    run.wait_for_steps(8)
    at_once = 0
    while run.process.poll() is None:
        at_once = max(at_once, len(stage_workers()))
        time.sleep(0.1)
    out, _ = run.end()
    assert json.loads(out) == {"made": 1 + 2 * CELLS, "reused": 0}
    assert at_once == 2
    run.check(expected, 0)
    run.start()
    assert json.loads(run.end()[0]) == {"made": 0, "reused": CELLS}


def test_killed_workers_are_made_good(run: Run, expected: dict[str, str]) -> None:
    killed = 0
    for steps in (10, 30, 45):
        run.wait_for_steps(steps)
        for pid in stage_workers()[:1]:
            os.kill(pid, signal.SIGKILL)
            killed += 1
    assert killed >= 2
    _, errors = run.end()
    assert "its process was lost; it goes on in another" in errors
    run.check(expected, killed)


def test_a_worker_that_is_asked_to_stop_saves_and_its_stage_goes_on(
    run: Run, expected: dict[str, str]
) -> None:
    run.wait_for_steps(10)
    os.kill(stage_workers()[0], signal.SIGTERM)
    run.end()
    run.check(expected, 1)


def test_a_lost_machine_is_made_good(run: Run, cluster: Any, expected: dict[str, str]) -> None:
    run.wait_for_steps(10)
    lost = sorted(cluster.worker_nodes, key=str)[0]
    cluster.remove_node(lost, allow_graceful=False)
    cluster.machine()
    run.end()
    run.check(expected, 2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1])
def test_a_request_to_stop_saves_and_the_same_command_goes_on(
    run: Run, number: signal.Signals, expected: dict[str, str]
) -> None:
    run.wait_for_steps(10)
    run.process.send_signal(number)
    _, errors = run.end(130)
    assert "Traceback" not in errors
    assert not stage_workers()
    assert "running" not in {c["state"] for c in open_database(run.database).read_cells()}
    run.start()
    run.end()
    run.check(expected, 2)


def test_a_killed_driver_takes_its_stages_along_and_the_same_command_goes_on(
    run: Run, expected: dict[str, str]
) -> None:
    run.wait_for_steps(10)
    workers = stage_workers()
    run.process.kill()
    run.process.communicate()
    until = time.monotonic() + HANG
    while any(map(alive, workers)) and stage_workers():
        assert time.monotonic() < until
        time.sleep(0.1)
    run.start()
    run.end()
    run.check(expected, 2)


def test_without_an_address_ray_is_started_and_ended_here(home: Path) -> None:
    line = command(
        home, f"sqlite:///{home}/results.db", launcher="ray", max_parallel=2, cells=1, steps=2
    )
    done = subprocess.run(line, capture_output=True, text=True, timeout=HANG)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout)["made"] == 3


def test_no_cluster_at_the_address_is_one_line(home: Path) -> None:
    line = command(
        home, f"sqlite:///{home}/results.db", launcher="ray", ray_address="127.0.0.1:1", cells=1
    )
    line[2] = line[2].replace(
        "sys.exit(main(*sys.argv[1:]))",
        (
            "\nfrom bench.core.errors import BadInput\n"
            "try: main(*sys.argv[1:])\n"
            "except BadInput as error: sys.exit(f'{error}')"
        ),
    )
    failed = subprocess.run(line, capture_output=True, text=True, timeout=HANG)
    assert failed.returncode == 1
    assert "no Ray at 127.0.0.1:1" in failed.stderr
    assert "try: ray status" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_a_machine_that_does_not_see_the_home_says_so(home: Path) -> None:
    from bench.launch.jobs import Job
    from bench.launch.ray import task
    from bench.launch.tracked import TrackedRun

    stage = plan(1).stages[0]
    runtime = Runtime(home=home, database="sqlite://", tracker="none")
    job = Job(stage, runtime, TrackedRun("", "", "", ""), None)
    report = task(job, 1, None, home / "locks" / "ray-x-1")  # type: ignore[arg-type]
    assert isinstance(report.error, BadInput)
    assert "does not see BENCH_HOME" in str(report.error)


CPU = [{"CPU": 8.0, "memory": 4.0 * (1 << 30)}, {"CPU": 16.0, "memory": 8.0 * (1 << 30)}]
GPU = [{"CPU": 16.0, "GPU": 4.0, "memory": 1e11}, {"CPU": 16.0, "GPU": 4.0, "memory": 1e11}]


@pytest.mark.parametrize(
    ("given", "machines", "cpus", "gpus"),
    [
        ({}, CPU, 12, 0),  # one for each machine
        ({"max_parallel": 6}, CPU, 4, 0),
        ({"max_parallel": 100}, CPU, 1, 0),
        ({"max_parallel": 1}, CPU, 16, 0),  # never more than a machine has
        ({"threads": 3}, CPU, 3, 0),
        ({"devices": 2, "threads": 3}, CPU, 6, 0),
        ({}, GPU, 4, 1),  # one for each GPU
        ({"devices": 4}, GPU, 16, 4),
        ({"devices": "cpu"}, GPU, 16, 0),
    ],
)
def test_a_stages_share_of_the_machines(
    given: dict[str, Any], machines: list[dict[str, float]], cpus: int, gpus: int, home: Path
) -> None:
    from bench.launch.ray import share

    found = share(Runtime(home=home, database="", **given), machines)
    assert (found.cpus, found.gpus) == (cpus, gpus)
    assert found.memory_mib == max(m["memory"] for m in machines) // (1 << 20)


def test_more_gpus_than_any_machine_has_is_bad_input(home: Path) -> None:
    from bench.launch.ray import share

    with pytest.raises(BadInput, match="no machine of the Ray cluster has more than 4 GPUs"):
        share(Runtime(home=home, database="", devices=8), GPU)
