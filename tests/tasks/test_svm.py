"""The VOC07 SVM protocols against a direct transcription of them with scikit-learn."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.svm import LinearSVC

from bench.contracts.context import StageContext
from bench.contracts.registry import load
from bench.core.errors import BadData, BadInput
from bench.core.params import Runtime
from bench.core.progress import Progress
from bench.core.stage import Stage
from bench.nn.svm import solve
from tasks._frozen import protocol, svm
from tasks._frozen.gram import Gram
from tasks._frozen.lowshot import Experiment, rescore_lowshot, summarise
from tasks._frozen.protocol import SvmParams, check_solver
from tasks._frozen.rows import Kernel, prepare
from tasks._frozen.speed import make_up_features
from tasks._frozen.svm import (
    draw_sample,
    find_usable_classes,
    make_signs,
    pick_by_cv,
    split_folds,
    train_full,
    train_shot,
)
from tasks._shared.ranking import class_ap

COSTS = np.array([0.5**14, 0.5**9, 0.5**5, 1.0, 10.0])


def transcription(
    train: np.ndarray, labels: np.ndarray, test: np.ndarray, costs: np.ndarray
) -> tuple[np.ndarray, ...]:
    """METHODS 3.1 steps 3 to 6, as the published code does it, class by class."""
    train = train.astype(np.float64) / (
        np.linalg.norm(train.astype(np.float64), axis=1, keepdims=True) + 1e-5
    )
    test = test.astype(np.float64) / (
        np.linalg.norm(test.astype(np.float64), axis=1, keepdims=True) + 1e-5
    )
    scores, chosen = [], []
    for c in range(labels.shape[1]):
        y = np.where(labels[:, c] == 1, 1, -1)  # 0, difficult only, stays in as a negative
        best: tuple[float, float] = (-1.0, 0.0)
        for cost in costs:
            made = LinearSVC(
                C=cost,
                class_weight={1: 2, -1: 1},
                intercept_scaling=1.0,
                penalty="l2",
                loss="squared_hinge",
                tol=1e-4,
                dual=True,
                max_iter=2000,
                random_state=0,
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                mean = cross_val_score(made, train, y, cv=3, scoring="average_precision").mean()
                if mean > best[0]:
                    best, fitted = (mean, cost), made.fit(train, y)
        scores.append(fitted.decision_function(test))
        chosen.append(best[1])
    return np.stack(scores, 1), np.array(chosen)


@pytest.fixture(scope="module")
def problem() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Random features of 360 + 200 images, labels of 5 classes, some of them difficult only."""
    features, labels = make_up_features(560, 700, 5, 3)
    rng = np.random.default_rng(0)
    labels[rng.random(labels.shape) < 0.04] = 0
    labels[:6] = 1  # enough positives in every fold
    return features[:360], labels[:360], features[360:], labels[360:]


@pytest.mark.parametrize("width", [700, 60])
@pytest.mark.parametrize("solver", ["batched", "liblinear"])
def test_the_protocol_is_the_transcription(problem: Any, solver: Any, width: int) -> None:
    """With more dimensions than images (the products are factored) and with fewer."""
    train, labels, test, truth = problem
    train, test = train[:, :width], test[:, :width]
    expected, costs = transcription(train, labels, test, COSTS)
    made = train_full(train, labels, test, COSTS, solver, Progress())
    assert made.chosen.tolist() == costs.tolist()
    assert len(set(costs.tolist())) > 1, "the grid decides something"
    for kind in ("interpolated", "11point", "area"):
        ap, theirs = class_ap(truth, made.scores, kind), class_ap(truth, expected, kind)  # type: ignore[arg-type]
        assert abs(ap.mean() - theirs.mean()) < 5e-4
    assert np.abs(made.scores - expected).max() < 0.02 * np.abs(expected).max()
    assert ((made.scores > 0) == (expected > 0)).mean() > 0.995


def test_the_solver_minimises_the_stated_function() -> None:
    """At the solution the gradient of |w|^2/2 + sum s max(0, 1 - y wx)^2 vanishes, in float64 and
    by autograd."""
    features, labels = make_up_features(80, 120, 2, 1)
    rows = Kernel(features).reduce()
    for cost in (1e-4, 0.1, 10.0):
        w = rows.weights(solve(rows, labels, np.full(2, cost), 2.0, 1e-4)).requires_grad_()
        x, y = prepare(features), torch.from_numpy(labels).double()
        weight = torch.where(y > 0, 2.0, 1.0) * cost
        (0.5 * (w * w).sum() + (weight * (1 - y * (x @ w)).clamp(min=0) ** 2).sum()).backward()
        assert w.grad is not None
        assert float(w.grad.norm() / w.detach().norm()) < 2e-3


def test_a_row_with_label_zero_is_not_in_the_problem() -> None:
    features, labels = make_up_features(60, 90, 1, 2)
    labels[:3] = 1
    part = labels.copy()
    part[40:] = 0
    rows, few = Kernel(features).reduce(), Kernel(features[:40]).reduce()
    w = rows.weights(solve(rows, part, np.array([1.0]), tol=1e-4))
    v = few.weights(solve(few, labels[:40], np.array([1.0]), tol=1e-4))
    assert float((w - v).norm() / v.norm()) < 2e-3


def test_copies_among_the_images_do_no_harm() -> None:
    features, labels = make_up_features(30, 100, 1, 5)
    labels[:4] = 1
    twice = np.concatenate([features, features[:7]])
    y = np.concatenate([labels, labels[:7]])
    made = train_full(twice, y, features, np.array([1.0]), "batched", Progress())
    theirs = transcription(twice, y, features, np.array([1.0]))[0]
    assert np.abs(made.scores - theirs).max() < 0.02 * np.abs(theirs).max()


@pytest.mark.parametrize("seed", range(6))
def test_folds_are_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = np.where(rng.random(int(rng.integers(20, 60))) < 0.3, 1, -1)
    y[[1, 5, 9]] = 1
    expected = np.empty(len(y), int)
    for f, (_, held) in enumerate(StratifiedKFold(3).split(y[:, None], y)):
        expected[held] = f
    assert split_folds(y).tolist() == expected.tolist()


def test_difficult_only_images_are_negatives_in_training(problem: Any) -> None:
    """...and their score has no part in AP: see test_ranking. Turning them into plain negatives
    changes nothing; leaving them out does."""
    train, labels, test, _ = problem
    assert make_signs(np.array([1, 0, -1])).tolist() == [1, -1, -1]
    plain = np.where(labels == 1, 1, -1).astype(np.int8)
    one = train_full(train, labels, test, COSTS[2:3], "batched", Progress())
    same = train_full(train, plain, test, COSTS[2:3], "batched", Progress())
    assert np.array_equal(one.scores, same.scores)
    keep = (labels != 0).all(1)
    less = train_full(train[keep], labels[keep], test, COSTS[2:3], "batched", Progress())
    assert np.abs(less.scores - one.scores).max() > 0.01


def test_the_cost_grid() -> None:
    costs = SvmParams().all_costs()
    assert len(costs) == 19
    assert costs.tolist() == sorted([1.0, 10.0, 100.0, *(0.5**n for n in range(4, 20))])


def test_classes_that_cannot_be_judged_are_left_out() -> None:
    train = np.array([[1, 1, 0], [1, 1, 1], [1, -1, 1], [-1, -1, 1]])
    test = np.array([[1, 1, -1], [-1, -1, 0]])
    assert find_usable_classes(train, test).tolist() == [0]
    assert find_usable_classes(train, test, 2).tolist() == [0, 1]


def test_liblinear_without_scikit_learn_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"needs scikit-learn.*--set solver=batched"):
        check_solver("liblinear")
    check_solver("batched")


def test_a_sample_is_k_positives_and_19_k_negatives_of_every_class() -> None:
    rng = np.random.default_rng(0)
    labels = np.where(rng.random((900, 20)) < 0.1, 1, -1).astype(np.int8)
    labels[rng.random(labels.shape) < 0.1] = 0
    for k in (1, 4):
        made = draw_sample(labels, k, 0)
        assert (made == 1).sum(0).tolist() == [k] * 20
        assert (made == -1).sum(0).tolist() == [19 * k] * 20
        assert (labels[made == 1] == 1).all()
        assert (labels[made == -1] == -1).all(), "never an image with the class only as difficult"
    assert np.array_equal(made, draw_sample(labels, 4, 0))
    assert not np.array_equal(made, draw_sample(labels, 4, 1))
    with pytest.raises(BadInput, match="try smaller ones"):
        draw_sample(labels, 400, 0)


@pytest.mark.parametrize("k", [1, 2, 8])
def test_the_solvers_agree_on_samples(k: int) -> None:
    features, labels = make_up_features(700, 300, 4, 7)
    kernel, test = Kernel(features[:500]), prepare(features[500:])
    sample = draw_sample(labels[:500], k, 0)
    one, other = (train_shot(kernel, test, sample, COSTS, s) for s in ("batched", "liblinear"))
    for scores, theirs in zip(one.scores, other.scores, strict=True):
        assert np.abs(scores - theirs).max() < 0.01 * np.abs(theirs).max()
        assert (
            abs(class_ap(labels[500:], scores).mean() - class_ap(labels[500:], theirs).mean())
            < 2e-3
        )
    assert one.cv.shape == (len(COSTS), 4)
    assert np.isnan(one.cv).all() == np.isnan(other.cv).all() == (k == 1)
    if k > 1:
        assert int(one.cv.mean(1).argmax()) == int(other.cv.mean(1).argmax())


def sums(w: torch.Tensor, x: torch.Tensor, y: torch.Tensor, cost: torch.Tensor) -> torch.Tensor:
    """|w|^2/2 + sum s max(0, 1 - y wx)^2 of the rows of w (P, D), float64."""
    weight = torch.where(y > 0, 2.0, 1.0) * (y != 0) * cost[:, None]
    return 0.5 * (w * w).sum(1) + (weight * (1 - y * (w @ x.T)).clamp(min=0) ** 2).sum(1)


@pytest.mark.parametrize("most", [100.0, 1e5])
@pytest.mark.parametrize("width", [20, 200])
def test_the_solver_in_coefficients_minimises_the_same_function(width: int, most: float) -> None:
    """By autograd in float64, with more and with fewer rows than dimensions, copies among the
    rows, a fold left out, costs of the protocol and, in float64, a far larger one; `o` are the
    rows' scores."""
    features, labels = make_up_features(90, width, 1, 3)
    features[50:60] = features[:10]
    kernel, costs = Kernel(features), np.array([1e-5, 0.05, 1.0, most])
    subset = np.random.default_rng(0).permutation(90)[:70]
    labels[subset[:5]] = 1
    y = np.repeat(labels[subset, 0][None], len(costs), 0)
    y[1::2, 40:] = 0
    found = solve(Gram(kernel, subset, most), y, costs, 2.0, 1e-3)
    a, o = found.coef, found.image
    x, signs = kernel.rows[torch.from_numpy(subset)], torch.from_numpy(y).double()
    w = (a.double() @ x).requires_grad_()
    [grad] = torch.autograd.grad(sums(w, x, signs, torch.from_numpy(costs)).sum(), w)
    # at large costs it is all float32's rounding
    assert (grad.norm(dim=1) / w.norm(dim=1))[:3].max() < 2e-3
    assert (o - w.detach() @ x.T).abs().max() < 1e-3 * o.abs().max()
    for p, cost in enumerate(costs):
        theirs = svm.fit_linear_svc(x[:, :-1][y[p] != 0].numpy(), y[p][y[p] != 0], cost)
        best = torch.cat(
            [torch.from_numpy(theirs.coef_), torch.from_numpy(theirs.intercept_)[None]], 1
        )
        mine, other = (
            sums(v, x, signs[p : p + 1], torch.tensor([cost]))
            for v in (w.detach()[p : p + 1], best)
        )
        assert float(mine) <= 1.0001 * float(other), cost


def test_cost_selection() -> None:
    nan = np.full(3, np.nan)
    assert pick_by_cv([nan, np.array([0.1, 0.5, 0.5]), np.array([0.9, 0.5, 0.5])]) == [1, 1, 0]
    made = Experiment(
        np.zeros((1, 1)), np.zeros((1, 1)), (2, 1), (0, 1), COSTS[:3], "interpolated"
    )
    assert made.ks == (1, 2)
    made.ap[0] = [[0.1, 0.2, 0.3], [0.1, 0.2, 0.6]]
    made.ap[1] = [[0.5, 0.1, 0.4], [0.3, 0.2, 0.2]]
    made.cv[0] = np.nan
    made.cv[1] = [[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]
    found, table = summarise(made, "cv")
    assert found["mAP_k2"] == pytest.approx(100 * (0.4 + 0.2) / 2)
    assert found["mAP_k1"] == pytest.approx(100 * (0.3 + 0.2) / 2), (
        "the cost of k = 2, sample by sample"
    )
    assert found["mAP_k1_test_cost"] == pytest.approx(45)
    assert found["mAP_k2_test_cost"] == pytest.approx(40)
    assert found["mAP"] == pytest.approx((30 + 25) / 2)
    assert table["2"]["test_cost"] == COSTS[0]
    official = summarise(made, "test")[0]
    assert official["mAP_k2"] == official["mAP_k2_test_cost"]


def test_k_1_alone_cannot_choose_a_cost() -> None:
    with pytest.raises(BadInput, match="--set ks=1,2,4"):
        Experiment(np.zeros((1, 1)), np.zeros((1, 1)), (1,), (0,), COSTS, "interpolated")


def test_lowshot_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = make_up_features(300, 40, 3, 7)
    stage = Stage("evaluate", "voc07_lowshot", 1, {"seed": 0}, "")
    ctx = StageContext(stage, tmp_path, {}, Runtime(home=tmp_path, database="sqlite://"))

    def experiment() -> Experiment:
        made = Experiment(labels[:200], labels[200:], (1, 2), (0, 1), COSTS[:2], "interpolated")
        made.run(ctx, features[:200], features[200:], np.arange(200) + 1000, "batched")
        return made

    first = experiment()
    rows = np.load(tmp_path / "samples.npz")["rows"]
    assert len(rows) == 2 * 3 * (1 + 2) * (1 + 2)
    assert rows[:, 3].min() >= 1000
    (ctx.scratch / "k2-seed1.npz").write_bytes(b"torn")
    calls: list[Any] = []
    monkeypatch.setattr(
        "tasks._frozen.lowshot.train_shot", lambda *a: calls.append(a) or train_shot(*a)
    )
    again = experiment()
    assert len(calls) == 1
    assert np.array_equal(first.ap, again.ap)


def test_lowshot_counts_images_as_often_as_they_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted once each they give what was measured; a test set with repeated images gives the
    mean AP of scikit-learn on it."""
    features, labels = make_up_features(300, 40, 3, 7)
    stage = Stage("evaluate", "voc07_lowshot", 1, {"seed": 0}, "")
    ctx = StageContext(stage, tmp_path, {}, Runtime(home=tmp_path, database="sqlite://"))
    made = Experiment(labels[:200], labels[200:], (1, 2), (0, 1), COSTS[:2], "area")
    made.run(ctx, features[:200], features[200:], np.arange(200), "batched")
    made.keep_scores(ctx)
    images: Any = SimpleNamespace(ids=np.arange(100))
    monkeypatch.setattr(StageContext, "images", lambda *a: images)
    monkeypatch.setattr("tasks._frozen.lowshot.image_labels", lambda images: labels[200:])
    scored = rescore_lowshot(ctx, "area")
    measured = summarise(made, "cv")[0]
    ones = np.ones(100, np.int64)
    assert set(scored.metrics) == {"mAP", "mAP_k1", "mAP_k2"}
    for name, metric in scored.metrics.items():
        assert metric(ones) == pytest.approx(measured[name], abs=1e-9)
    rows = np.random.default_rng(3).integers(0, 100, 100)
    scores = np.load(tmp_path / "scores.npz")["k2"]
    expected = [
        average_precision_score(labels[200:][rows, c] == 1, each[rows, c])
        for each in scores
        for c in range(3)
    ]
    drawn = np.bincount(rows, minlength=100)
    assert scored.metrics["mAP_k2"](drawn) == pytest.approx(100 * np.mean(expected))


def test_tasks_share_their_features() -> None:
    backbone = Stage("pretrain", "x", 1, {"method": {"params": {"backbone": "resnet18"}}}, "")
    data = Stage("data", "y", 1, {}, "")
    keys = set()
    for name in ("voc07_svm", "voc07_lowshot", "voc07_linear"):
        task: Any = load("task", name).resolve("paper")
        stages = task.stages(SimpleNamespace(), backbone, data)
        keys.add((stages["features_train"].key, stages["features_val"].key))
    assert len(keys) == 1


def test_a_set_too_small_for_any_class_is_one_line() -> None:
    train = np.array([[1, 0], [1, 1], [0, -1]])
    assert find_usable_classes(train, np.array([[1, 0]]), least=2).tolist() == [0]
    with pytest.raises(BadData, match="no class is in 3 or more of the 3 training images"):
        find_usable_classes(train, np.array([[1, 0]]))
    with pytest.raises(BadData, match="one of the 1 test images"):
        find_usable_classes(train, np.array([[0, 0]]), least=1)
