"""Where the Ray that we start listens: the sockets of its processes, as the kernel has them."""

from __future__ import annotations

import ipaddress
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="the extra `ray` is not installed")
MARK = "BENCH_TEST_STARTED_BY"  # in the environment of all that a command starts
SCRIPT = """
import json, os, sys, time
import ray
from bench.launch.ray_cluster import connect
from tests.launch.test_ray_sockets import listening_of

@ray.remote
def work():
    return os.getpid()

with connect(""):
    ray.get([work.remote() for _ in range(2)])
    until = time.monotonic() + 30
    while time.monotonic() < until:  # agents open theirs a moment later
        found = listening_of(os.environ[sys.argv[1]])
        if {"gcs_server", "raylet", "ray::DashboardA", "ray::RuntimeEnv"} <= {f[0] for f in found}:
            break
        time.sleep(0.2)
    time.sleep(1)
    print(json.dumps(listening_of(os.environ[sys.argv[1]])))
assert os.environ.get("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER") is None, "it is as it was"
"""


def listening() -> dict[str, str]:
    """The address of every listening TCP socket by its inode."""
    places = {}
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A":  # LISTEN
                raw = bytes.fromhex(words[1].partition(":")[0])
                parts = [raw[i : i + 4][::-1] for i in range(0, len(raw), 4)]  # as the host has it
                places[words[9]] = str(ipaddress.ip_address(b"".join(parts)))
    return places


def sockets(process: Path) -> Iterator[str]:
    """The inodes of a process's sockets."""
    for descriptor in (process / "fd").iterdir():
        try:
            target = os.readlink(descriptor)
        except OSError:
            continue
        if target.startswith("socket:["):
            yield target[8:-1]


def listening_of(mark: str) -> list[tuple[str, str]]:
    """(name, address) of every listening socket of the processes with this mark."""
    places, found = listening(), []
    for process in Path("/proc").iterdir():
        try:
            if f"{MARK}={mark}".encode() not in (process / "environ").read_bytes().split(b"\0"):
                continue
            name = (process / "comm").read_text().strip()
            found += [(name, places[inode]) for inode in sockets(process) if inode in places]
        except (OSError, ValueError):
            continue
    return found


def test_all_that_it_starts_listens_on_this_machine_alone(tmp_path: Path) -> None:
    if not Path("/proc/net/tcp").exists():
        pytest.skip("no /proc")
    mark = uuid.uuid4().hex
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | {MARK: mark}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, MARK],
        capture_output=True,
        text=True,
        timeout=150,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert {"gcs_server", "raylet"} <= {name for name, _ in found}
    assert len(found) >= 10, "servers, agents, metrics, workers and the command itself"
    for name, place in found:
        address = ipaddress.ip_address(place)
        address = getattr(address, "ipv4_mapped", None) or address
        assert address.is_loopback, (name, place)
