"""What scale `tiny` is there for, by whole trainings: pretraining is seen, and so is where it
crops. One method every day; `pytest -m claims` runs a board of two methods and two seeds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import bench
from tests.e2e.micro import bench as run_bench

FEWER = {"scenes.n_train": 384, "simclr.epochs": 40}


def measure(
    methods: str, crops: str, seed: int, settings: Mapping[str, Any]
) -> dict[tuple[str, str], str]:
    """The keys of object kNN of methods and crops; random_init has one crop."""
    results = bench.run(
        methods,
        crops,
        "object_knn",
        seeds=seed,
        set=dict(settings),
        progress=False,
        workers=0,
        devices="cpu",
    )
    return {(r.method, r.crop): r.key for r in results if r.key}


def find_gains(first: str, *others: str) -> list[float]:
    """The lower ends of the 95 % intervals, over test images, of how far the others' recall among
    20 neighbours is above that of the first."""
    said = run_bench("compare", first, *others, "--metric", "recall_k20", "--json")
    assert said.returncode == 0, said.stderr
    rows = {row["key"]: row["low"] for row in json.loads(said.stdout)["rows"]}
    return [float(rows[key]) for key in others]


def check_order(method: str, seed: int, settings: Mapping[str, Any]) -> None:
    """Object crops above whole images, and both above the untrained network."""
    keys = measure(f"{method},random_init", "image,gt", seed, settings)
    image, gt = (keys[method, crop] for crop in ("image", "gt"))
    untrained = keys["random_init", "image"]
    assert min(find_gains(untrained, image, gt)) > 0
    assert find_gains(image, gt)[0] > 0


@pytest.mark.slow
def test_simclr_learns_and_object_crops_teach_more_than_whole_images(home: Path) -> None:
    """240 steps of half the images, about a minute of a core."""
    check_order("simclr", 0, FEWER)


@pytest.mark.claims
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("method", ["byol", "simclr"])
def test_the_board_has_its_order(method: str, seed: int, home: Path) -> None:
    """All defaults, about three minutes of a core each."""
    check_order(method, seed, {})
