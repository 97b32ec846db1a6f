"""A small store with something for every picture, and the command line in this process."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli import cli
from bench.core.errors import BenchError

SMALL = ("scenes.n_train=16", "scenes.n_val=6")


def bench(home: Path, *arguments: str) -> str:
    """What the command prints; a user's error is raised."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "BENCH_HOME": str(home),
            "BENCH_TRACKER": "none",
            "OMP_NUM_THREADS": "1",
        }.items():
            patch.setenv(name, value)
        patch.delenv("BENCH_DB", raising=False)
        done = CliRunner().invoke(cli, list(arguments), catch_exceptions=True)
    if isinstance(done.exception, BenchError):
        raise done.exception
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def sets(*more: str) -> list[str]:
    return [part for text in (*SMALL, *more) for part in ("--set", text)]


def fill(home: Path) -> None:
    """Tiny networks, hardly trained: one of each method that has a picture, and results that keep
    what pictures are made from."""
    base = ["--crop", "image", "--task", "object_knn", "--devices", "cpu", "--workers", "0"]
    trained = ("epochs=1", "batch_size=8", "image_size=32", "proposals=ground_truth")
    orl = [f"orl.{t}" for t in (*trained, "neighbours=2", "roi_size=32", "patch=32")]
    first = [f"byol.{t}" for t in trained[:3]]
    bench(home, "run", "--method", "orl", *base, *sets(*orl, *first))
    bench(home, "run", "--method", "ccop", *base, *sets(*(f"ccop.{t}" for t in trained)))
