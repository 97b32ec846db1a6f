"""kNN and linear probes: against plain loops, lightly and torchvision's parts; resuming; what they
learn."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightly.utils.benchmarking.knn import knn_predict
from torch.nn import functional as F

from bench.contracts import registry
from bench.core.errors import BadInput, StageFailed
from bench.core.params import Runtime
from bench.core.store import Store
from bench.launch.local import LocalEngine
from bench.plan.cell import Cell
from bench.plan.planner import make_plan
from tasks._frozen import linear
from tasks._frozen.knn import knn_scores
from tasks._frozen.linear import (
    Heads,
    fit_cached,
    lighting,
    lr_at,
    measure_accuracies,
    probe_loss,
)
from tasks._frozen.protocol import LinearParams
from tests.data.folders import Deaf


def knn_problem() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    return (
        torch.randn(60, 8, generator=g),
        torch.randint(0, 4, (60,), generator=g),
        torch.randn(11, 8, generator=g),
    )


def test_knn_is_the_plain_loop() -> None:
    train, labels, test = knn_problem()
    found = knn_scores(train, labels, test, 4, 7, 0.1)
    for i, row in enumerate(test.double()):
        cosines = [float(row @ t / (row.norm() * t.norm())) for t in train.double()]
        votes = [0.0] * 4
        for j in sorted(range(60), key=lambda j: -cosines[j])[:7]:
            votes[int(labels[j])] += math.exp((cosines[j] - max(cosines)) / 0.1)
        assert found[i].tolist() == pytest.approx(votes, rel=1e-4)


def test_knn_at_a_low_temperature_votes_as_float64_does() -> None:
    """exp(cos / .005) is beyond float32 for every cosine above .44, and within float64."""
    g = torch.Generator().manual_seed(1)
    train, test = torch.rand(300, 16, generator=g), torch.rand(200, 16, generator=g)
    labels = torch.randint(0, 6, (300,), generator=g)
    votes = knn_scores(train, labels, test, 6, 50, 0.005)
    near = (F.normalize(test.double(), dim=1) @ F.normalize(train.double(), dim=1).T).topk(50)
    assert float(near.values[:, 0].min()) > 0.5
    exact = torch.zeros(200, 6, dtype=torch.float64)
    exact.scatter_add_(1, labels[near.indices], (near.values / 0.005).exp())
    assert exact.isfinite().all()
    assert not exact.float().isfinite().all()
    assert votes.isfinite().all()
    assert votes.argmax(1).tolist() == exact.argmax(1).tolist()
    share = (exact / exact.sum(1, keepdim=True)).float()
    torch.testing.assert_close(votes / votes.sum(1, keepdim=True), share, rtol=0, atol=1e-3)


def test_knn_refuses_features_that_are_not_finite() -> None:
    train, labels, test = knn_problem()
    test[3, 2] = math.nan
    with pytest.raises(StageFailed, match="60 of 660 cosines of the features are infinite or not"):
        knn_scores(train, labels, test, 4, 7, 0.1)


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.1), (20, 0.1), (60, 1.0)])
def test_knn_predicts_as_lightly(k: int, temperature: float) -> None:
    train, labels, test = knn_problem()
    found = knn_scores(train, labels, test, 4, k, temperature)
    bank = F.normalize(train, dim=1).T.contiguous()
    expected = knn_predict(F.normalize(test, dim=1), bank, labels, 4, k, temperature)
    shown = found.argsort(1, descending=True)
    voted = (found > 0).sum(1)
    for mine, theirs, n in zip(shown, expected, voted.tolist(), strict=True):
        assert mine[:n].tolist() == theirs[:n].tolist()


def test_probe_loss_by_hand() -> None:
    logits = torch.tensor([[2.0, -1.0], [0.5, 3.0]])
    labels = torch.tensor([[1, 0], [-1, 1]])
    each = [math.log1p(math.exp(-2.0)), math.log1p(math.exp(0.5)), math.log1p(math.exp(-3.0))]
    assert float(probe_loss(logits, labels)) == pytest.approx(sum(each) / 3)
    one = float(probe_loss(logits, torch.tensor([0, 1])))
    assert one == pytest.approx((math.log1p(math.exp(-3.0)) + math.log1p(math.exp(-2.5))) / 2)


def test_heads_normalise_without_affine_parameters() -> None:
    heads = Heads({"conv1": 6, "gap": 4}, 3, True)
    assert {n: p.shape for n, p in heads.named_parameters()} == {
        "heads.conv1.1.weight": (3, 6),
        "heads.conv1.1.bias": (3,),
        "heads.gap.1.weight": (3, 4),
        "heads.gap.1.bias": (3,),
    }
    x = torch.randn(50, 4) * 5 + 2
    w = heads.heads["gap"][1]
    expected = ((x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-5).sqrt()) @ w.weight.T + w.bias
    torch.testing.assert_close(heads({"conv1": torch.randn(50, 6), "gap": x})["gap"], expected)


@pytest.mark.parametrize(
    ("task", "rates"),
    [
        ("imagenet_linear", {0: 0.01, 7: 0.01, 8: 1e-3, 16: 1e-4, 24: 1e-5, 27: 1e-5}),
        ("places205_linear", {3: 0.01, 4: 1e-3, 8: 1e-4, 12: 1e-5, 13: 1e-5}),
        ("inat18_linear", {23: 0.01, 24: 1e-3, 48: 1e-4, 72: 1e-5, 83: 1e-5}),
        ("openimages_linear", {59: 30.0, 60: 3.0, 80: 0.3, 99: 0.3}),
    ],
)
def test_the_rate_falls_when_the_papers_say(task: str, rates: dict[int, float]) -> None:
    p: Any = registry.load("task", task).resolve("paper").params
    assert {e: lr_at(e, p) for e in rates} == pytest.approx(rates)
    assert p.epochs == max(rates) + 1
    assert p.batch_size == 256


def test_lighting_moves_along_the_principal_colours() -> None:
    images = torch.zeros(400, 3, 2, 2)
    torch.manual_seed(0)
    made = lighting(images, 0.1)
    shift = made[:, :, 0, 0] * torch.tensor([0.229, 0.224, 0.225])  # back to [0, 1]
    assert torch.equal(made[:, :, 0, 0], made[:, :, 1, 1])
    vectors = torch.tensor(linear.LIGHT_VECTORS)
    along = shift @ vectors / torch.tensor(linear.LIGHT_VALUES)
    assert along.std(0).tolist() == pytest.approx([0.1] * 3, rel=0.15)
    assert torch.equal(lighting(images, 0.0), images)
    torch.testing.assert_close(vectors.T @ vectors, torch.eye(3), atol=2e-3, rtol=0)


def test_best_layer_and_every_layer() -> None:
    truth = np.array([0, 1, 2, 0])
    right, wrong = np.eye(6)[truth], np.eye(6)[[1, 1, 1, 1]] + 0.1 * np.arange(6)
    found = measure_accuracies({"conv1": wrong, "res5": right}, truth)
    assert found["top1"] == found["top1_res5"] == 100
    assert found["top1_conv1"] == 25


def test_a_cached_probe_learns_what_is_linear() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((600, 10)).astype(np.float32)
    labels = np.where(x[:, :3] > 0.5, 1, -1).astype(np.int8)
    p = LinearParams(epochs=40, steps=(30,), batch_size=50, layers=("gap",))
    scores = fit_cached(x[:400], labels[:400], x[400:], p, 0)
    right = ((scores > 0) == (labels[400:] > 0)).mean()
    assert right > 0.95


def test_what_is_not_counted_pulls_at_nothing() -> None:
    logits = torch.randn(4, 3, requires_grad=True)
    labels = torch.tensor([[1, 0, -1], [0, 0, 1], [1, 1, 1], [0, -1, 0]])
    probe_loss(logits, labels).backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad == 0, labels == 0)


SMALL = (
    ("scenes.n_train", "40"),
    ("scenes.n_val", "12"),
    ("task.image_size", "32"),
    ("task.resize", "36"),
)
MORE: dict[str, tuple[tuple[str, str], ...]] = {
    "knn": (("task.k", "5"),),
    "cifar10_knn": (("task.k", "5"),),
    "voc07_lowshot": (("task.ks", "1,2"),),
}
FROZEN = (
    "cifar10_knn",
    "imagenet_linear",
    "inat18_linear",
    "knn",
    "openimages_linear",
    "places205_linear",
    "voc07_linear",
    "voc07_lowshot",
    "voc07_svm",
)


def run(
    task: str, home: Path, more: tuple[tuple[str, str], ...] = (), seconds: float = 20.0
) -> tuple[Path, LocalEngine]:
    runtime = Runtime(
        home=home,
        database="sqlite://",
        tracker="none",
        workers=0,
        devices="cpu",
        threads=1,
        checkpoint_seconds=seconds,
    )
    sets = SMALL + (more or MORE.get(task, ()))
    plan = make_plan(
        [Cell("random_init", "image", task, "scenes", "scenes", "tiny", 0, sets)], runtime, {}
    )
    engine = LocalEngine(runtime, Store(home), Deaf())
    final = plan.cells[0].final
    assert final is not None
    return engine.ensure(final), engine


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("frozen") / "home"


@pytest.mark.parametrize("task", FROZEN)
def test_every_frozen_task_runs_on_scenes(task: str, shared: Path) -> None:
    if task == "voc07_lowshot":
        MORE[task] = (("task.ks", "1,2"), ("scenes.n_train", "90"))
    folder, _ = run(task, shared)
    metrics = json.loads((folder / "metrics.json").read_text())
    made: Any = registry.load("task", task)
    assert made.headline in metrics
    assert set(metrics) <= set(made.metrics)
    assert all(0 <= v <= 100 for v in metrics.values())


def test_a_probe_goes_on_bit_equal_after_a_kill(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = (
        ("task.epochs", "3"),
        ("task.steps", "[2]"),
        ("task.batch_size", "16"),
        ("task.layers", '["gap", "res4"]'),
    )
    whole, _ = run("imagenet_linear", tmp_path / "other", sets)
    step = linear.probe_loss
    calls: list[int] = []

    def dies(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return step(logits, labels)

    monkeypatch.setattr(linear, "probe_loss", dies)
    with pytest.raises(KeyboardInterrupt):
        run("imagenet_linear", home, sets, 0.0)
    monkeypatch.setattr(linear, "probe_loss", lambda a, b: calls.append(1) or step(a, b))
    calls.clear()
    again, _ = run("imagenet_linear", home, sets, 0.0)
    assert 0 < len(calls) < 2 * 6, "the first steps are not repeated"
    assert (again / "metrics.json").read_text() == (whole / "metrics.json").read_text()


def test_k_beyond_the_set_says_what_to_do(shared: Path) -> None:
    with pytest.raises(BadInput, match=r"--set knn\.k="):
        run("knn", shared, (("task.k", "100"),))


@pytest.mark.real_data
def test_svm_on_real_photographs(real_data: Path, home: Path) -> None:
    """VOC 2012 train to val (a subset): 250 + 250 photographs, an untrained ResNet-18."""
    runtime = Runtime(
        home=home, database="sqlite://", tracker="none", workers=2, devices="cpu", threads=2
    )
    sets = (("scenes.n_train", "4"), ("scenes.n_val", "2"))
    cell = Cell("random_init", "image", "voc07_svm", "scenes", "voc2012", "tiny", 0, sets)
    plan = make_plan([cell], runtime, {"voc2012": real_data / "VOCdevkit"})
    assert plan.cells[0].final is not None
    folder = LocalEngine(runtime, Store(home), Deaf()).ensure(plan.cells[0].final)
    metrics = json.loads((folder / "metrics.json").read_text())
    table = json.loads((folder / "per_class.json").read_text())["classes"]
    assert metrics["classes"] == len(table) == 20
    assert metrics["mAP"] == pytest.approx(np.mean([row["AP"] for row in table.values()]))
    assert 8 < metrics["mAP"] < 40, (
        "a random backbone is above chance (about 8) and far from a trained one"
    )
