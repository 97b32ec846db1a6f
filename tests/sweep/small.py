"""Sweeps of seconds: an untrained or a hardly trained network, two dozen scenes, nearest
neighbours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from bench.api.studies import open_study
from bench.cli._engine import open_engine
from bench.cli._tracking import take_tracking
from bench.core.params import Runtime
from bench.launch.session import open_runtime
from bench.sweep.study import Sweep
from bench.sweep.work import Work

OBJECTS = ("scenes_objects.n_train=24", "scenes_objects.n_val=8")
SCENES = ("scenes.n_train=24", "scenes.n_val=8", *OBJECTS)
CHEAP = ("--method", "random_init", "--task", "knn", *(x for s in OBJECTS for x in ("--set", s)))
TRAINED = (
    "--method",
    "byol",
    "--task",
    "knn",
    *(
        x
        for s in (
            *SCENES,
            "byol.batch_size=8",
            "byol.image_size=32",
            "byol.hidden=32",
            "byol.out=16",
            "knn.k=3",
            "knn.image_size=32",
            "knn.resize=32",
        )
        for x in ("--set", s)
    ),
)


def opened(*arguments: str) -> tuple[Sweep, Runtime]:
    """The study that `bench sweep ARGUMENTS` works on, and a runtime without loader processes."""
    from bench.cli.sweep import command

    runtime = open_runtime(workers=0, devices="cpu")
    options = command.make_context("sweep", list(arguments)).params
    study = options.pop("study")
    take_tracking(options)
    for name in (
        "timeout",
        "parallel",
        "workers",
        "loaders",
        "devices",
        "as_json",
        "dry_run",
        "worker_of",
        "until",
    ):
        options.pop(name)
    return open_study(runtime, study, {**options, "timed": False})[0], runtime


def work(sweep: Sweep, runtime: Runtime) -> None:
    """A worker in this process."""
    with open_engine(runtime) as (engine, _):
        Work(sweep, runtime, {}, engine.listener, engine.progress).run()


def finish(sweep: Sweep, runtime: Runtime) -> str:
    """What the command says when no trial is left."""
    import click

    from bench.cli.sweep._report import finish as finish_sweep

    @click.command()
    def end() -> None:
        assert finish_sweep(sweep, runtime, {}, False, click.echo) == 0

    done = CliRunner().invoke(end, catch_exceptions=False)
    return done.output


def start(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    """`bench sweep ARGUMENTS` in a process group of its own."""
    code = [sys.executable, "-c", "from bench.cli import main; main()", "sweep", *arguments]
    return subprocess.Popen(
        code,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=dict(os.environ),
        start_new_session=True,
        **options,
    )


def evaluated(home: Path) -> int:
    """How many evaluations the store has."""
    return len(list((home / "store" / "evaluate").glob("*/metrics.json")))
