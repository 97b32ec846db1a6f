"""Objectness on photographs beside paper 000's Table 2 (VOC2007 trainval), images weighed to its
own mean."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.patience import HANG

REPORTED = {"poor": 20.1, "image": 36.4, "grid": 39.8, "gt_pad": 48.2, "coarse": 52.6, "gt": 100.0}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, real_data: Path) -> dict[str, Any]:
    """crop -> its statistics on 500 images of VOC2012. The coarse crop's network is untrained (the
    paper's s5, nearly as good as its trained one): 500 photographs at `tiny` settings train none.
    """
    command = [
        sys.executable,
        "-c",
        "from bench.cli import main; main()",
        "crops",
        "stats",
        "--json",
        "--crop",
        ",".join(REPORTED),
        "--data",
        f"voc2012={real_data / 'VOCdevkit'}",
        "--set",
        "voc2012.train=trainval",
        "--set",
        "anchors_scda.phi=random_init",
        "--image-objectness",
        "36.4",
    ]
    home = tmp_path_factory.mktemp("voc objectness")
    environment = {**os.environ, "BENCH_HOME": str(home), "BENCH_TRACKER": "none"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG, env=environment)
    assert done.returncode == 0, done.stderr
    return {row["crop"]: row["stats"] for row in json.loads(done.stdout)}


def percent(stats: dict[str, Any], name: str = "objectness") -> float:
    return float(100 * stats[name]["mean"])


@pytest.mark.real_data
def test_the_order_is_the_reported_one(measured: dict[str, Any]) -> None:
    found = {crop: percent(stats) for crop, stats in measured.items()}
    assert found["image"] == pytest.approx(36.4, abs=1e-6), "what the images were weighed to"
    assert found["gt"] == pytest.approx(100.0)
    assert found["poor"] < found["image"] < found["grid"] < found["coarse"] < found["gt"]
    assert found["image"] < found["gt_pad"] < found["gt"]


@pytest.mark.real_data
def test_values_lie_near_the_reported_ones(measured: dict[str, Any]) -> None:
    """Grid's 39.8 cannot be reached by a partition of images with 36.4; its share of poor crops is
    "roughly 40 %" in the paper. Coarse varies by about 2 points with the weights of the untrained
    network."""
    for crop, slack in (("poor", 2.0), ("grid", 3.0), ("gt_pad", 1.5), ("coarse", 4.5)):
        assert percent(measured[crop]) == pytest.approx(REPORTED[crop], abs=slack), crop
    assert percent(measured["grid"], "poor") == pytest.approx(40, abs=4)
