"""bench perf and bench crops recall: equal work is compared, figures are arithmetic, the verbs tell them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench import registry
from bench.cli import main
from bench.engine import perf, perf_crops, perf_eval, perf_train
from bench.engine.perf import Race, Timing, in_turns, many, peer, summary, times
from bench.engine.perf_train import Settings, batch_of, fresh, loss_gap, make, shapes
from bench.engine.proposals import ProposalTable
from bench.engine.recall import first_hits, recalls
from bench.errors import StageFailed
from bench.method import Method
from tasks._detection import speed as coco_speed
from tests.e2e.micro import bench
from tests.small_set import SmallSet

WITH_PEER = [n for n in registry.names("method") if registry.load("method", n).peer]
TINY = Settings(batch=6, size=32)


def small(name: str, **overrides: Any) -> Method:
    return make(registry.load("method", name), TINY, overrides)


def images(method: Method) -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return {r: torch.randn(TINY.batch, 3, s, s, generator=draw) for r, s in shapes(method).items()}


def test_the_methods_of_the_issue_have_a_peer() -> None:
    assert {"byol", "moco_v2", "simclr", "swav"} <= set(WITH_PEER)


@pytest.mark.parametrize("name", WITH_PEER)
def test_both_steps_compute_the_same_loss_and_gradient(name: str) -> None:
    pytest.importorskip("lightly")
    method = small(name)
    assert loss_gap(method, images(method)) < 1e-6
    ours, theirs = fresh(method).eval(), peer(method.peer)(method, fresh(method)).eval()
    ours.loss(batch_of(images(method), 0))["loss"].backward()
    loss = theirs.loss(list(images(method).values()))
    loss.backward()
    factor = theirs.as_ours(1.0) - theirs.as_ours(0.0)
    mine, other = ours.backbone.conv1.weight.grad, theirs.backbone[0].weight.grad
    assert float(mine.abs().max()) > 0
    assert float((mine - factor * other).norm() / mine.norm()) < 1e-4


def test_training_mode_is_equal_too_where_views_pass_one_by_one() -> None:
    pytest.importorskip("lightly")
    method = small("byol")
    ours, theirs = fresh(method).train(), peer(method.peer)(method, fresh(method)).train()
    with torch.no_grad():
        mine = float(ours.loss(batch_of(images(method), 0))["loss"])
        other = float(theirs.loss(list(images(method).values())))
    assert theirs.as_ours(other) == pytest.approx(mine, rel=1e-5)


def test_unequal_losses_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lightly")
    import methods._lightly as lightly

    monkeypatch.setattr(lightly._Simclr, "as_ours", lambda self, loss: loss + 0.01)
    with pytest.raises(StageFailed, match=r"simclr: the losses that are timed differ by 0\.00"):
        perf_train.measure(small("simclr"), TINY)


def test_our_step_trains_and_the_peer_s_too() -> None:
    pytest.importorskip("lightly")
    method = small("byol", lr="0.05")
    before = loss_gap(method, images(method))
    seen: list[Any] = []
    for make_step in (perf_train.our_step, perf_train.peer_step):
        with pytest.MonkeyPatch.context() as patch:
            held = fresh(method)
            patch.setattr(perf_train, "fresh", lambda m, held=held: held)
            step = make_step(method, images(method))
            weights = [p.detach().clone() for p in held.parameters()]
            step()
            seen.append(any(not torch.equal(a, b) for a, b in zip(weights, held.parameters(), strict=True)))
    assert seen == [True, False]  # the peer holds copies: our network is not touched by its step
    assert loss_gap(method, images(method)) == before


def test_scores_of_all_anchors_equal_a_mean_per_anchor() -> None:
    races = perf_crops.races()
    assert {"588 anchors, 224x224: scores", "3600 anchors, 640x480: scores, best 5"} <= {
        r.name for r in races
    }
    assert all(r.difference() <= 1e-9 for r in races)


def test_a_race_of_unequal_results_is_refused() -> None:
    with pytest.raises(StageFailed, match=r"sums: .* differ by 0\.5"):
        perf_crops.race(Race("sums", lambda: 1, lambda: 1, lambda: 0.5, 1e-9), 1)
    row = perf_crops.race(Race("sums", lambda: sum(range(9)), lambda: sum(range(999)), lambda: 0.0, 0), 3)
    assert row["ours"]["ratio"] == pytest.approx(row["plain"]["median"] / row["ours"]["median"])


def test_ways_take_turns_and_warm_up_does_not_count() -> None:
    calls: list[str] = []
    taken = in_turns({n: lambda n=n: calls.append(n) for n in "abc"}, repeats=3, warm_up=1)
    assert "".join(calls) == "abc" + "bca" + "cab" + "abc"
    assert {n: len(t) for n, t in taken.items()} == {"a": 3, "b": 3, "c": 3}


def test_summary_is_of_medians() -> None:
    mine = [Timing(2.0, 1.0), Timing(1.0, 0.5), Timing(9.0, 1.5)]
    base = [Timing(8.0, 2.0), Timing(6.0, 2.0), Timing(100.0, 2.5)]
    found = summary(mine, base)
    assert (found["median"], found["fastest"], found["slowest"], found["cpu"]) == (2.0, 1.0, 9.0, 1.0)
    assert (found["repeats"], found["ratio"], found["cpu_ratio"]) == (3, 4.0, 2.0)
    assert summary(mine, n=2)["median"] == 1.0  # a timing did the work twice


def test_short_work_is_repeated_in_one_timing() -> None:
    count = [0]

    def work() -> None:
        count[0] += 1

    assert 100 <= many(work) <= 1000
    count[0] = 0
    times(work, 7)()
    assert count[0] == 7


def test_the_machine_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    found = perf.machine()
    assert found["cores"] == len(os.sched_getaffinity(0))
    assert found["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert found["cpu"]
    monkeypatch.setattr(perf, "_cpu_field", lambda name: "fpu avx512_bf16" if name == "flags" else "")
    assert perf.has_bf16()
    monkeypatch.setattr(perf, "_cpu_field", lambda name: "fpu avx512f" if name == "flags" else "")
    assert not perf.has_bf16()


def test_scaling_counts_cpu_time_by_process() -> None:
    taken = [perf_crops.Taken(wall=3.0, here=0.5, there=4.0)] * 3
    base = [perf_crops.Taken(wall=6.0, here=4.5, there=0.0)] * 3
    stage: Any = type("Stage", (), {"name": "x"})
    row = perf_crops.Scaling(stage, {}, None)._row(2, taken, base, 10)  # type: ignore[arg-type]
    assert row["ratio"] == 2.0
    assert row["serial"] == pytest.approx(0.5 / 4.5)
    assert row["possible"] == pytest.approx(4.5 / (0.5 + 4.0 / 2))
    assert row["busy"] == pytest.approx(4.5 / 6)


BOXES = np.array([[0, 0, 10, 10], [0, 0, 10, 5], [50, 50, 60, 60]], np.float32)


def test_first_hit_of_every_object() -> None:
    objects = np.array([[0, 0, 10, 4], [50, 50, 60, 60], [0, 0, 10, 10], [90, 90, 99, 99]], np.float32)
    assert first_hits(BOXES, objects).tolist() == [1, 2, 0, 3]  # the first: IoU .4 with box 0, .8 with box 1
    assert first_hits(BOXES[:2], objects[:1], 0.4).tolist() == [0]  # a threshold is included
    assert first_hits(np.zeros((0, 4)), objects).tolist() == [0, 0, 0, 0]
    assert first_hits(BOXES, objects[:0]).tolist() == []


def test_recall_of_true_boxes_is_one_and_of_none_is_zero(tmp_path: Path) -> None:
    data = SmallSet(tmp_path, 3)
    boxes = [data.objects(i).boxes[::-1] for i in range(3)]
    counts = [len(b) for b in boxes]
    first = np.cumsum([0, *counts])
    full = ProposalTable(data.ids, first, np.concatenate(boxes), np.ones(sum(counts)))
    none = ProposalTable(data.ids, np.zeros(4, np.int64), np.zeros((0, 4)), np.zeros(0))
    found = recalls(data, [full], [1, 1000])
    assert found["objects"] == sum(counts)
    assert found["boxes_per_image"] == pytest.approx(sum(counts) / 3)
    assert found["recall"]["1000"]["mean"] == 1.0
    hit = sum(int((first_hits(b[:1], b) == 0).sum()) for b in boxes)
    assert found["recall"]["1"]["mean"] == pytest.approx(hit / sum(counts))
    assert recalls(data, [none], [10])["recall"]["10"]["mean"] == 0.0
    both = recalls(data, [full, none], [1000])  # two seeds
    assert both["recall"]["1000"]["mean"] == pytest.approx(0.5)
    assert both["objects"] == sum(counts)


SCENES = ("--set", "scenes.n_train=4", "--set", "scenes.n_val=2")


def test_recall_verb_prints_every_proposer_and_asks_for_enough_boxes() -> None:
    done = bench(
        "crops", "recall", "-p", "random_boxes,ground_truth", "--boxes", "5,200", "--seeds", "2", *SCENES,
        "--workers", "0", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = {r["proposals"]: r for r in json.loads(done.stdout)}
    assert rows["ground_truth"]["recall"]["200"]["mean"] == 1.0
    assert rows["random_boxes"]["boxes_per_image"] == 200
    assert rows["random_boxes"]["recall"]["5"]["mean"] <= rows["random_boxes"]["recall"]["200"]["mean"]
    assert rows["random_boxes"]["recall"]["5"]["n"] == 2 * rows["random_boxes"]["objects"]


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
    assert "3600 anchors, 640x480: scores" in done.stdout
    assert "edge_boxes" in done.stdout
    report = json.loads((tmp_path / "perf.json").read_text())
    assert {"cpu", "cores", "load", "bf16", "python", "versions"} == set(report["machine"])
    assert [r["race"] for r in report["races"]] == [r.name for r in perf_crops.races()]
    assert all(r["difference"] <= 1e-9 and r["ours"]["repeats"] == 5 for r in report["races"])
    row = report["scaling"][0]
    fields = {"proposals", "images", "processes", "median", "ratio", "repeats", "serial", "possible", "busy"}
    assert fields <= set(row)
    assert row["images"] == 2


def test_perf_train_prints_its_fields() -> None:
    pytest.importorskip("lightly")
    small = ("--size", "32", "--batch", "4", "--repeats", "1", "--threads", "1", "--precision", "fp32,bf16")
    done = bench("perf", "train", "-m", "simclr", *small, "--set", "hidden=16", "--json", "-")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert [(r["who"], r["precision"]) for r in rows] == [
        ("peer", "fp32"),
        ("ours", "fp32"),
        ("ours", "bf16"),
    ]
    for row in rows:
        assert row["images_per_second"] == pytest.approx(4 / row["median"])
        assert row["ratio"] == pytest.approx(rows[0]["median"] / row["median"])
        assert row["cpu_ratio"] == pytest.approx(rows[0]["cpu"] / row["cpu"])
        assert row["loss_difference"] < 1e-6
        assert (row["batch"], row["size"], row["threads"], row["repeats"]) == (4, 32, 1, 1)


def work(ours: float, plain: float, seen: list[str], **more: Any) -> perf_eval.Work:
    def way(name: str, value: float) -> Any:
        return lambda: seen.append(name) or value

    def compare(a: float, b: float) -> tuple[float, dict[str, float]]:
        return abs(a - b), {"sum": a + b}

    return perf_eval.Work("sums", "numbers", way("o", ours), way("p", plain), compare, 0.1, **more)


def test_evaluations_are_compared_before_they_are_timed() -> None:
    seen: list[str] = []
    with pytest.raises(StageFailed, match=r"sums: .* differ by 0\.5"):
        perf_eval.measure(work(1.0, 1.5, seen), 3)
    assert sorted(seen) == ["o", "p"], "once each, not timed"
    seen.clear()
    row = perf_eval.measure(work(1.0, 1.05, seen), 3)
    assert len(seen) == 2 * 4
    assert row["difference"] == pytest.approx(0.05)
    assert row["facts"] == {"sum": 2.05}
    assert row["ours"]["repeats"] == row["plain"]["repeats"] == 3
    assert row["ours"]["ratio"] == pytest.approx(row["plain"]["median"] / row["ours"]["median"])
    with pytest.raises(StageFailed, match="differ by nan"):
        perf_eval.measure(work(float("nan"), 1.0, seen), 1)


def test_a_part_of_long_work_counts_for_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    timings = {"plain": [Timing(2.0, 1.0)], "ours": [Timing(1.0, 0.25)]}
    monkeypatch.setattr(
        perf_eval, "in_turns", lambda ways, *_, **__: [w() for w in ways.values()] and timings
    )
    row = perf_eval.measure(work(1.0, 1.0, seen, times=5.0, long=True), 3)
    assert len(seen) == 2, "once, and what was timed is compared"
    assert (row["plain"]["median"], row["plain"]["cpu"]) == (10.0, 5.0)
    assert (row["ours"]["ratio"], row["ours"]["cpu_ratio"]) == (10.0, 20.0)
    with pytest.raises(StageFailed, match="differ by 1"):
        perf_eval.measure(work(1.0, 2.0, seen, long=True), 3)


def test_cpu_time_of_other_processes_counts() -> None:
    code = "x = sum(i * i for i in range(3_000_000))"
    [timing] = in_turns({"a": lambda: subprocess.run([sys.executable, "-c", code], check=True)}, 1, 0)["a"]
    assert timing.cpu > 0.05


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
    many = perf_eval.Repeated(images, 6)
    assert len(many) == 6
    assert many.file(4) == images.file(1)
    *loaders, network = perf_eval.loading(images, [0], 2)
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
    *_, network = perf_eval.loading(SmallSet(tmp_path, 2), [0], 1)
    plain = torch.tensor([[0.0, 0.0], [6.0, 8.0]])  # 5 from their mean, each
    gap, facts = network.compare(plain + torch.tensor([[0.0, 1.0], [0.0, 0.0]]), plain)
    assert gap == pytest.approx(0.1)
    assert facts == {"largest of an image": pytest.approx(0.2)}


def test_perf_eval_prints_its_fields(tmp_path: Path) -> None:
    done = bench(
        "perf", "eval", "-s", "tiny", "--repeats", "1", "--workers", "0", "--json", str(tmp_path / "x")
    )
    assert done.returncode == 0, done.stderr
    rows = {r["work"]: r for r in json.loads((tmp_path / "x").read_text())["rows"]}
    assert set(rows) == {
        "COCO bbox", "COCO segm", "COCO keypoints", "SVM", "low-shot SVM",
        "loader, center, 0 workers", "loader, squash, 0 workers", "ResNet-18, center, 0 workers",
    }  # fmt: skip
    for name, row in rows.items():
        assert name in done.stdout
        assert row["ours"]["ratio"] == pytest.approx(row["plain"]["median"] / row["ours"]["median"])
        assert row["ours"]["cpu_ratio"] == pytest.approx(row["plain"]["cpu"] / row["ours"]["cpu"])
        assert row["what"] in done.stdout
    assert rows["COCO bbox"]["difference"] < 1e-6
    assert rows["SVM"]["times"] == 2
    assert rows["SVM"]["difference"] < 0.5
    assert {"same cost", "classes compared", "samples"} <= set(rows["low-shot SVM"]["facts"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("perf train -m mae", "lightly has no modules for mae"),
        ("perf train -m byol --precision fp16", "--precision is a list of fp32 and bf16"),
        ("perf train -m byol --set moco_v2.tau=1", "unknown method to time 'moco_v2'"),
        ("perf train -m byol --set byol.optimizer=lars --size 32 --batch 4", "torch has no lars"),
        ("perf eval -t knn", "nothing to compare knn's evaluation with"),
        ("perf eval --workers some", "--workers is a list of numbers from 0"),
        ("perf crops --processes 0", "--processes is a list of positive numbers"),
        ("perf crops --size big", "--size is WIDTHxHEIGHT"),
        ("crops recall --boxes none", "--boxes is a list of positive numbers"),
    ],
)
def test_bad_input_is_one_line(arguments: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments.split())
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_without_lightly_one_line_says_what_to_install() -> None:
    code = "import sys; sys.modules['lightly'] = None; from bench.cli import main; main()"
    arguments = [sys.executable, "-c", code, "perf", "train", "-m", "byol"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert 'pip install "ssl-crop-bench[test]"' in done.stderr
