"""bench perf eval: equal results are timed, loaders, features, its fields."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.core.errors import StageFailed
from bench.measure import evaluation_speed as speed
from bench.measure.timing import Timing
from tasks._detection import speed as coco_speed
from tests.e2e.micro import bench, wide_lines
from tests.small_set import SmallSet


def work(ours: float, plain: float, seen: list[str], **more: Any) -> speed.Work:
    def way(name: str, value: float) -> Any:
        return lambda: seen.append(name) or value

    def compare(a: float, b: float) -> tuple[float, dict[str, float]]:
        return abs(a - b), {"sum": a + b}

    return speed.Work("sums", "numbers", way("o", ours), way("p", plain), compare, 0.1, **more)


def test_evaluations_are_compared_before_they_are_timed() -> None:
    seen: list[str] = []
    with pytest.raises(StageFailed, match=r"sums: .* differ by 0\.5"):
        speed.measure(work(1.0, 1.5, seen), 3)
    assert sorted(seen) == ["o", "p"], "once each, not timed"
    seen.clear()
    row = speed.measure(work(1.0, 1.05, seen), 3)
    assert len(seen) == 2 * 4
    assert row["difference"] == pytest.approx(0.05)
    assert row["facts"] == {"sum": 2.05}
    assert row["ours"]["repeats"] == row["plain"]["repeats"] == 3
    assert row["ours"]["ratio"] == pytest.approx(row["plain"]["median"] / row["ours"]["median"])
    with pytest.raises(StageFailed, match="differ by nan"):
        speed.measure(work(float("nan"), 1.0, seen), 1)


def test_a_part_of_long_work_counts_for_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    timings = {"plain": [Timing(2.0, 1.0)], "ours": [Timing(1.0, 0.25)]}
    monkeypatch.setattr(
        speed,
        "time_in_turns",
        lambda ways, *_, **__: [w() for w in ways.values()] and timings,
    )
    row = speed.measure(work(1.0, 1.0, seen, times=5.0, long=True), 3)
    assert len(seen) == 2, "once, and what was timed is compared"
    assert (row["plain"]["median"], row["plain"]["cpu"]) == (10.0, 5.0)
    assert (row["ours"]["ratio"], row["ours"]["cpu_ratio"]) == (10.0, 20.0)
    with pytest.raises(StageFailed, match="differ by 1"):
        speed.measure(work(1.0, 2.0, seen, long=True), 3)


def test_made_up_detections_are_evaluated_alike_and_say_when_not() -> None:
    for found in (coco_speed.boxes_and_masks("tiny"), coco_speed.keypoints("tiny")):
        for one in found:
            ours, theirs = one.ours(), one.plain()
            gap, facts = one.compare(ours, theirs)
            assert gap <= 1e-6, one.name
            assert 1 < facts["AP"] < 99, "neither all wrong nor all right"
            assert one.compare(ours, one.plain())[0] == gap, "the plain way twice"
            ours[1][ours[1] > 0.5] -= 0.01
            assert one.compare(ours, theirs)[0] == pytest.approx(0.01)


def test_loaders_of_a_set_several_times_over(tmp_path: Path) -> None:
    images = SmallSet(tmp_path, 3)
    many = speed.Repeated(images, 6)
    assert len(many) == 6
    assert many.file(4) == images.file(1)
    *loaders, network = speed.time_loading(images, [0], 2)
    assert [w.name for w in loaders] == ["loader, center, 0 workers", "loader, squash, 0 workers"]
    for one in loaders:
        ours, plain = one.ours(), one.plain()
        assert ours.shape == plain.shape == (6, 3, 224, 224)
        assert one.compare(ours, plain)[0] <= one.tolerance
        assert one.compare(ours.flip(3), plain)[0] > one.tolerance
    assert network.name == "ResNet-18, center, 0 workers"
    ours, plain = network.ours(), network.plain()
    assert ours.shape == plain.shape == (3, 512)
    gap, facts = network.compare(ours, plain)
    assert 0 < gap <= facts["largest of an image"] < network.tolerance
    assert network.compare(ours.roll(1, 0), plain)[0] > 1, "features of another image"


def test_features_differ_as_a_share_of_what_images_differ_by(tmp_path: Path) -> None:
    *_, network = speed.time_loading(SmallSet(tmp_path, 2), [0], 1)
    plain = torch.tensor([[0.0, 0.0], [6.0, 8.0]])  # 5 from their mean, each
    gap, facts = network.compare(plain + torch.tensor([[0.0, 1.0], [0.0, 0.0]]), plain)
    assert gap == pytest.approx(0.1)
    assert facts == {"largest of an image": pytest.approx(0.2)}


def test_perf_eval_prints_its_fields(tmp_path: Path) -> None:
    done = bench(
        "perf",
        "eval",
        "-s",
        "tiny",
        "--repeats",
        "1",
        "--workers",
        "0",
        "--json",
        str(tmp_path / "x"),
    )
    assert done.returncode == 0, done.stderr
    rows = {r["work"]: r for r in json.loads((tmp_path / "x").read_text())["rows"]}
    assert set(rows) == {
        "COCO bbox",
        "COCO segm",
        "COCO keypoints",
        "SVM",
        "low-shot SVM",
        "loader, center, 0 workers",
        "loader, squash, 0 workers",
        "ResNet-18, center, 0 workers",
    }
    text = " ".join(done.stdout.split())
    assert not wide_lines(done.stdout)
    for name, row in rows.items():
        assert name in text
        assert row["ours"]["ratio"] == pytest.approx(
            row["plain"]["median"] / row["ours"]["median"]
        )
        assert row["ours"]["cpu_ratio"] == pytest.approx(row["plain"]["cpu"] / row["ours"]["cpu"])
        assert row["what"] in text
    assert rows["COCO bbox"]["difference"] < 1e-6
    assert rows["SVM"]["times"] == 2
    assert rows["SVM"]["difference"] < 0.5
    assert {"same cost", "classes compared", "samples"} <= set(rows["low-shot SVM"]["facts"])
