"""What a command works with: the runtime of this process, and the engine that it names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from bench.core.errors import BadInput

if TYPE_CHECKING:
    from bench.core.params import Runtime
    from bench.core.progress import Progress
    from bench.launch.local import LocalEngine
    from bench.results.db.database import Database


def open_runtime(**fields: Any) -> Runtime:
    """The runtime of this process: `BENCH_HOME`, `BENCH_DB` (by default SQLite in the home) and
    `BENCH_TRACKER`, with further `fields` of it."""
    from bench.core.home import home_folder
    from bench.core.params import Runtime
    from bench.core.spinning import begin_watching
    from bench.launch.tracking import check_tracker
    from bench.results.db.place import database_url

    begin_watching()
    home = home_folder()
    asked = fields.pop("tracker", None)
    tracker = asked or os.environ.get("BENCH_TRACKER") or "wandb"
    check_tracker(tracker, "--tracker" if asked else "BENCH_TRACKER")
    return Runtime(home=home, database=database_url(), tracker=tracker, **fields)


@contextmanager
def open_engine(
    runtime: Runtime, progress: AbstractContextManager[Progress]
) -> Iterator[tuple[LocalEngine, Database]]:
    """The engine that the runtime names, which reports to the results database. While it is open,
    SIGTERM and SIGUSR1 act like Ctrl-C: what is running is saved, and the same command goes on."""
    from bench.core.signals import listen_for_stop
    from bench.core.spinning import settle_waiting
    from bench.core.store import Store
    from bench.launch.launchers import launcher
    from bench.results.db.database import open_database
    from bench.results.db.listener import DatabaseListener

    if runtime.slurm and runtime.launcher != "slurm":
        raise BadInput(
            f"--slurm goes with --launcher slurm, got {runtime.launcher}; try: --launcher slurm"
        )
    settle_waiting()
    make = launcher(runtime.launcher)
    store = Store(runtime.home)
    database = open_database(runtime.database)
    with listen_for_stop(at_once=True), progress as shown:
        listener = DatabaseListener(database, shown.note, runtime.home)
        try:
            yield make(runtime, store, listener, shown), database
        finally:
            listener.close()


def node_number(nodes: int) -> int:
    """Which of `nodes` machines this is, from the environment that a training on several machines
    needs."""
    if nodes == 1:
        return 0
    place = os.environ.get("NODE_RANK") or os.environ.get("SLURM_NODEID") or ""
    port = os.environ.get("MASTER_PORT", "")
    address = os.environ.get("MASTER_ADDR") and port.isdecimal() and 0 < int(port) < 65536
    if not (address and place.isdecimal() and int(place) < nodes):
        raise BadInput(
            f"--nodes {nodes} needs MASTER_ADDR, MASTER_PORT and NODE_RANK (0 to {nodes - 1}) in "
            "the environment of the same command on each machine, and a BENCH_HOME that all of "
            "them see; "
            f"try: MASTER_ADDR=HOST MASTER_PORT=29500 NODE_RANK=0 bench run --nodes {nodes} ..."
        )
    return int(place)
