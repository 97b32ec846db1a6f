"""VOC07 linear SVMs on frozen features: costs by cross-validation, low-shot samples, scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from bench.contracts.context import StageContext
from bench.contracts.task import Scored
from bench.core.errors import BadData, BadInput
from bench.core.processes import parallel
from bench.core.progress import Advance, Progress
from bench.core.seeds import rng_for
from bench.data.semantic import image_labels
from bench.nn.svm import solve
from tasks._frozen.gram import Gram
from tasks._frozen.protocol import Solver
from tasks._frozen.rows import Kernel, Reduced, prepare, solve_path
from tasks._shared.counted import load_kept, mean_ap
from tasks._shared.ranking import ApKind, average_precision

POSITIVE_WEIGHT = 2.0  # class_weight {1: 2, -1: 1}
REFIT_TOL = 1e-3  # of what is scored in the end; cross-validation does with less
SHOT_TOL = 5e-4  # of small samples: their problems are cheap, and few rows decide


def make_signs(labels: np.ndarray) -> np.ndarray:
    """(N, K) labels 1, 0 (only difficult), -1 -> 1 or -1: an image that shows a class only as
    difficult objects is a negative in training (at test it is left out of that class)."""
    return np.where(np.asarray(labels) == 1, 1, -1).astype(np.int8)


def split_folds(y: np.ndarray, folds: int = 3) -> np.ndarray:
    """(n,) fold of each row, unshuffled and stratified as scikit-learn's `StratifiedKFold` makes
    them.

    Rows sorted by class (in order of first appearance) are dealt to the folds in turn, which says
    how many of a class each fold gets; a class's rows then fill the folds one after another in
    their order.
    """
    _, first, inverse = np.unique(y, return_index=True, return_inverse=True)
    rank = np.argsort(np.argsort(first))[inverse]
    order = np.sort(rank)
    fold = np.empty(len(y), np.int64)
    for c in range(int(rank.max()) + 1):
        counts = [int((order[f::folds] == c).sum()) for f in range(folds)]
        fold[rank == c] = np.repeat(np.arange(folds), counts)
    return fold


def find_usable_classes(train: np.ndarray, test: np.ndarray, least: int = 3) -> np.ndarray:
    """Classes with at least `least` training positives and one at test; no other can be judged.
    BadData where there is none. train (N, K), test (M, K): labels 1, 0 or -1."""
    keep = np.flatnonzero(((train == 1).sum(0) >= least) & ((test == 1).sum(0) > 0))
    if len(keep) == 0:
        raise BadData(
            f"no class is in {least} or more of the {len(train)} training images and in one of "
            f"the {len(test)} test images, so that no classifier can be judged; use a larger set, "
            "or a task like object_knn that needs fewer images"
        )
    return keep


def rescore_kept(ctx: StageContext, name: str, kind: ApKind, least: int) -> Scored:
    """The mean AP `name` of a finished evaluation that left the scores of its usable classes, as a
    function of how often each image counts."""
    train, val = ctx.images("data", "train"), ctx.images("data", "val")
    labels, truth = image_labels(train), image_labels(val)
    keep = find_usable_classes(labels, truth, least)
    return Scored(
        val.ids, {name: mean_ap(truth[:, keep], load_kept(ctx.work, "scores.npy"), kind)}
    )


@dataclass(frozen=True)
class Trained:
    """scores: (M, K) on the test rows. chosen: (K,) cost. cv: (K, C) mean AP of the folds in [0,
    1]."""

    scores: np.ndarray
    chosen: np.ndarray
    cv: np.ndarray


def train_full(
    train: np.ndarray,
    labels: np.ndarray,
    test: np.ndarray,
    costs: np.ndarray,
    solver: Solver,
    progress: Progress,
    workers: int = 0,
) -> Trained:
    """One SVM per class of `labels` (N, K): the cost of the best mean "area" AP over three folds
    (the lowest such cost), then all rows. train: (N, D), test: (M, D) raw features."""
    signs = make_signs(labels)
    if solver == "liblinear":
        return _train_liblinear(train, signs, test, costs, workers, progress)
    rows = Kernel(train).reduce()
    folds = np.stack([split_folds(column) for column in signs.T], 1)
    cv = cross_validate(rows, signs, folds, costs, progress.task("SVM costs", len(costs)))
    chosen = costs[cv.argmax(1)]
    w = rows.weights(solve(rows, signs, chosen, POSITIVE_WEIGHT, REFIT_TOL))
    return Trained((prepare(test) @ w).numpy(), chosen, cv)


def cross_validate(
    rows: Reduced, signs: np.ndarray, folds: np.ndarray, costs: np.ndarray, advance: Advance
) -> np.ndarray:
    """(K, C) mean over folds of the "area" AP of held-out rows, for every cost. signs, folds: (n,
    K)."""
    n_folds, k = int(folds.max()) + 1, signs.shape[1]
    y = np.concatenate([np.where(folds == f, 0, signs) for f in range(n_folds)], 1).astype(np.int8)
    cv = np.zeros((k, len(costs)))
    for at, w in solve_path(rows, y, costs, POSITIVE_WEIGHT):
        scores = rows.scores(w).numpy()
        for p in range(y.shape[1]):
            f, c = divmod(p, k)
            held = folds[:, c] == f
            cv[c, at] += score_fold(signs[held, c], scores[held, p]) / n_folds
        advance(1)
    return cv


def score_fold(signs: np.ndarray, scores: np.ndarray) -> float:
    """AP ("area") of held-out rows; 0 where none is positive, as scikit-learn scores it."""
    ap = average_precision(signs == 1, scores, "area")
    return 0.0 if np.isnan(ap) else ap


def fit_linear_svc(x: np.ndarray, y: np.ndarray, cost: float) -> Any:
    """scikit-learn's LinearSVC with the protocol's settings, fitted. x: prepared rows without the
    constant."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    classifier = LinearSVC(
        C=cost,
        penalty="l2",
        loss="squared_hinge",
        dual=True,
        tol=1e-4,
        max_iter=2000,
        intercept_scaling=1.0,
        class_weight={1: POSITIVE_WEIGHT, -1: 1.0},
        random_state=0,
    )
    with warnings.catch_warnings():
        # expected at large costs, part of the protocol
        warnings.simplefilter("ignore", ConvergenceWarning)
        return classifier.fit(x, y)


def _train_class(
    x: np.ndarray, test: np.ndarray, costs: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, ...]:
    cv = cross_validate_liblinear(x, y, split_folds(y), costs)
    cost = costs[int(np.argmax(cv))]
    return fit_linear_svc(x, y, cost).decision_function(test), np.array(cost), cv


def cross_validate_liblinear(
    x: np.ndarray, y: np.ndarray, folds: np.ndarray, costs: np.ndarray
) -> np.ndarray:
    """(C,) what `cross_validate` returns, for one class."""
    n_folds = int(folds.max()) + 1
    cv = np.zeros(len(costs))
    for at, cost in enumerate(costs):
        for f in range(n_folds):
            held = folds == f
            fit = fit_linear_svc(x[~held], y[~held], cost)
            cv[at] += score_fold(y[held], fit.decision_function(x[held])) / n_folds
    return cv


def _train_liblinear(
    train: np.ndarray,
    signs: np.ndarray,
    test: np.ndarray,
    costs: np.ndarray,
    workers: int,
    progress: Progress,
) -> Trained:
    x, t = prepare(train)[:, :-1].numpy(), prepare(test)[:, :-1].numpy()
    advance, parts = progress.task("SVM classes", signs.shape[1]), []
    for part in parallel(partial(_train_class, x, t, costs), list(signs.T), workers, 1):
        parts.append(part)
        advance(1)
    return Trained(
        *(np.stack(p, axis) for p, axis in zip(zip(*parts, strict=True), (1, 0, 0), strict=True))
    )


def draw_sample(labels: np.ndarray, k: int, seed: int) -> np.ndarray:
    """(N, K) int8 of 1 (drawn positives), -1 (drawn negatives), 0 (ignored): for every class by
    itself, k images that show it and (K - 1) k that do not, without replacement. Images that show
    a class only as difficult objects are never drawn for it. The published code draws with an
    unseeded `random.sample`."""
    n, classes = labels.shape
    sample = np.zeros((n, classes), np.int8)
    for c in range(classes):
        rng = rng_for(seed, "low-shot", c, k)
        for value, count in ((1, k), (-1, (classes - 1) * k)):
            pool = np.flatnonzero(labels[:, c] == value)
            if len(pool) < count:
                kind = "show" if value == 1 else "do not show"
                raise BadInput(
                    f"k={k} needs {count} images that {kind} class {c}, there are {len(pool)}; "
                    "try smaller ones: --set ks=1,2,4"
                )
            sample[rng.choice(pool, count, replace=False), c] = value
    return sample


@dataclass(frozen=True)
class Shot:
    """One sample of k. scores: (C, M, K) on the test rows for every cost. cv: (C, K) AP of
    held-out rows, nan for k = 1."""

    scores: np.ndarray
    cv: np.ndarray


def train_shot(
    kernel: Kernel, test: torch.Tensor, sample: np.ndarray, costs: np.ndarray, solver: Solver
) -> Shot:
    """Every class and cost of one sample (N, K), cross-validated on min(3, k) folds."""
    subsets = np.stack([np.flatnonzero(column) for column in sample.T])
    signs = np.take_along_axis(sample.T, subsets, 1)
    one = _train_shot_liblinear if solver == "liblinear" else _train_shot_batched
    parts = [one(kernel, test, *of, costs) for of in zip(subsets, signs, strict=True)]
    return Shot(np.stack([scores for scores, _ in parts], 2), np.stack([cv for _, cv in parts], 1))


def _split_shot(y: np.ndarray) -> np.ndarray | None:
    k = int((y == 1).sum())
    return None if k < 2 else split_folds(y, min(3, k))


def _train_shot_batched(
    kernel: Kernel, test: torch.Tensor, subset: np.ndarray, y: np.ndarray, costs: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Scores (C, M) and cross-validation (C,) of one class: its costs and folds together."""
    folds, c = _split_shot(y), len(costs)
    n_folds = 0 if folds is None else int(folds.max()) + 1
    rows = [y] + [np.where(folds == f, 0, y) for f in range(n_folds)]
    gram = Gram(kernel, subset, costs.max())
    signs, grid = np.repeat(rows, c, 0), np.tile(costs, len(rows))
    w = solve(gram, signs, grid, POSITIVE_WEIGHT, SHOT_TOL)
    cv = np.full(c, np.nan) if folds is None else np.zeros(c)
    for f in range(n_folds):
        held = folds == f
        scores = gram.scores(w)[(f + 1) * c : (f + 2) * c, torch.from_numpy(held)].numpy()
        cv += [score_fold(y[held], one) / n_folds for one in scores]
    weights = w.coef[:c].double() @ kernel.rows[torch.from_numpy(subset)]
    return (weights @ test.T).numpy(), cv


def _train_shot_liblinear(
    kernel: Kernel, test: torch.Tensor, subset: np.ndarray, y: np.ndarray, costs: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    x, t = kernel.rows[torch.from_numpy(subset), :-1].numpy(), test[:, :-1].numpy()
    folds = _split_shot(y)
    cv = (
        np.full(len(costs), np.nan)
        if folds is None
        else cross_validate_liblinear(x, y, folds, costs)
    )
    return np.stack([fit_linear_svc(x, y, cost).decision_function(t) for cost in costs]), cv


def pick_by_cv(cv: Sequence[np.ndarray]) -> list[int]:
    """The cost of every k, ascending, of one sample; k = 1 has no cross-validation and takes that
    of the next k."""
    best = [-1 if np.isnan(scores).any() else int(np.argmax(scores)) for scores in cv]
    return [next((p for p in best[i:] if p >= 0), -1) for i in range(len(best))]
