"""bench perf crops: races of equal results, scaling over processes, its fields."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.core.errors import StageFailed
from bench.measure import proposal_speed
from bench.measure.timing import Race
from tests.e2e.micro import bench, wide_lines


def test_scores_of_all_anchors_equal_a_mean_per_anchor() -> None:
    races = proposal_speed.list_races()
    assert {"588 anchors, 224x224: scores", "3600 anchors, 640x480: scores, best 5"} <= {
        r.name for r in races
    }
    assert all(r.difference() <= 1e-9 for r in races)


def test_a_race_of_unequal_results_is_refused() -> None:
    with pytest.raises(StageFailed, match=r"sums: .* differ by 0\.5"):
        proposal_speed.run_race(Race("sums", lambda: 1, lambda: 1, lambda: 0.5, 1e-9), 1)
    row = proposal_speed.run_race(
        Race("sums", lambda: sum(range(9)), lambda: sum(range(999)), lambda: 0.0, 0), 3
    )
    assert row["ours"]["ratio"] == pytest.approx(row["plain"]["median"] / row["ours"]["median"])


def test_scaling_counts_cpu_time_by_process() -> None:
    taken = [proposal_speed.StageTiming(wall=3.0, here=0.5, there=4.0)] * 3
    base = [proposal_speed.StageTiming(wall=6.0, here=4.5, there=0.0)] * 3
    stage: Any = type("Stage", (), {"name": "x"})
    row = proposal_speed.Scaling(stage, {}, None)._row(2, taken, base, 10)  # type: ignore[arg-type]
    assert row["ratio"] == 2.0
    assert row["serial"] == pytest.approx(0.5 / 4.5)
    assert row["possible"] == pytest.approx(4.5 / (0.5 + 4.0 / 2))
    assert row["busy"] == pytest.approx(4.5 / 6)


def test_perf_crops_prints_its_fields(tmp_path: Path) -> None:
    arguments = (
        "-p",
        "edge_boxes",
        "--images",
        "2",
        "--size",
        "96x64",
        "--repeats",
        "1",
        "--processes",
        "1,2",
    )
    done = bench("perf", "crops", *arguments, "--json", str(tmp_path / "perf.json"))
    assert done.returncode == 0, done.stderr
    assert not wide_lines(done.stdout)
    assert "3600 anchors, 640x480: scores" in done.stdout
    assert "edge_boxes" in done.stdout
    report = json.loads((tmp_path / "perf.json").read_text())
    assert {"cpu", "cores", "load", "bf16", "python", "versions"} == set(report["machine"])
    assert [r["race"] for r in report["races"]] == [r.name for r in proposal_speed.list_races()]
    assert all(r["difference"] <= 1e-9 and r["ours"]["repeats"] == 5 for r in report["races"])
    row = report["scaling"][0]
    fields = {
        "proposals",
        "images",
        "processes",
        "median",
        "ratio",
        "repeats",
        "serial",
        "possible",
        "busy",
    }
    assert fields <= set(row)
    assert row["images"] == 2
