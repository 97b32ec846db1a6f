"""What scale `tiny` is there for, by whole trainings: pretraining is seen, and so is where it
crops. One method every day; `pytest -m claims` runs a board of two methods and two seeds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import bench

FEWER = {"scenes.n_train": 384, "simclr.epochs": 40}


def measure(
    methods: str, crops: str, seed: int, settings: Mapping[str, Any]
) -> dict[tuple[str, str], float]:
    """Object kNN's recall among 20 neighbours, in per cent, of methods and crops."""
    results = bench.run(
        methods,
        crops,
        "object_knn",
        seeds=seed,
        set=dict(settings),
        progress=False,
        workers=0,
        devices="cpu",
        threads=1,
    )
    return {(r.method, r.crop): r.metrics["recall_k20"] for r in results}


def check_order(method: str, seed: int, settings: Mapping[str, Any]) -> None:
    """Object crops above whole images, and both above the untrained network, which is near 12."""
    found = measure(f"{method},random_init", "image,gt", seed, settings)
    untrained = found["random_init", "image"]
    assert found[method, "image"] > untrained + 0.5, found
    assert found[method, "gt"] > found[method, "image"] + 0.5, found


@pytest.mark.slow
def test_simclr_learns_and_object_crops_teach_more_than_whole_images(home: Path) -> None:
    """240 steps of 384 scenes, about a minute of a core."""
    check_order("simclr", 0, FEWER)


@pytest.mark.claims
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("method", ["byol", "simclr"])
def test_the_board_has_its_order(method: str, seed: int, home: Path) -> None:
    """All defaults, about three minutes of a core each."""
    check_order(method, seed, {})


@pytest.mark.claims
def test_crops_hold_as_much_of_objects_as_the_paper_says(home: Path) -> None:
    """Mean objectness of paper 000's Table 2, which trains nothing but the network that finds
    coarse objects (about a minute of a core): Poor 20.1, Image 36.4, Grid 39.8, GTpad 48.2, Our
    52.6, GT 100 %."""
    crops = "poor,image,grid,gt_pad,coarse,gt"
    table = bench.crop_stats(crops, progress=False, workers=0, devices="cpu", threads=1)
    found = dict(zip(table["crop"], 100 * table["objectness"], strict=True))
    assert found["poor"] == pytest.approx(20.1, abs=5)
    assert found["image"] == pytest.approx(36.4, abs=5)
    assert found["grid"] == pytest.approx(39.8, abs=7)
    assert found["gt_pad"] == pytest.approx(48.2, abs=7)
    assert found["coarse"] == pytest.approx(52.6, abs=7)
    assert found["gt"] == 100
