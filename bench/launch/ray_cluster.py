"""A Ray cluster that runs already, or one of our own that other machines cannot reach."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import ray
from ray._private import ray_constants

from bench.core.errors import BadInput

CONNECT_SECONDS = 10
LOCALHOST = "127.0.0.1"
SWITCH = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


@contextmanager
def connect(address: str) -> Iterator[None]:
    """Ray, unless this process is connected already."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would send reports
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    with nullcontext() if address else _closed_to_others():
        try:
            if address:
                _reach(address)
                ray.init(address=address, **quiet)
            else:
                ray.init(
                    address="local",
                    num_cpus=len(os.sched_getaffinity(0)),
                    include_dashboard=False,
                    _node_ip_address=LOCALHOST,
                    object_store_memory=128 << 20,
                    **quiet,
                )
        except (OSError, RuntimeError, ValueError, OverflowError) as error:
            text = " ".join(str(error).split())[:200]
            raise BadInput(
                f"no Ray at {address or 'this machine'} ({text}); try: ray status, or without "
                "--ray-address"
            ) from None
        try:
            yield
        finally:
            ray.shutdown()


@contextmanager
def _closed_to_others() -> Iterator[None]:
    """Meanwhile, a Ray that is started here listens on 127.0.0.1.

    Ray takes 127.0.0.1 for the machine's address on its network, and then listens on all of them,
    unless its switch for systems on which it makes no clusters is off: in this process, which has
    read it already, and in the environment of those that it starts.
    """
    before, switch = os.environ.get(SWITCH), ray_constants.ENABLE_RAY_CLUSTER
    os.environ[SWITCH], ray_constants.ENABLE_RAY_CLUSTER = "0", False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = switch
        if before is None:
            os.environ.pop(SWITCH, None)
        else:
            os.environ[SWITCH] = before


def _reach(address: str) -> None:
    """Raise OSError where no server answers at HOST:PORT, which Ray would try for minutes."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdecimal() and "/" not in host:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
