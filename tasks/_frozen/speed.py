"""The SVM protocols on made-up features for `bench perf eval`, our solver against LIBLINEAR."""

from __future__ import annotations

import numpy as np

from bench.core.progress import Progress
from bench.measure.evaluation_speed import Work
from tasks._frozen.protocol import Solver, SvmParams, check_solver
from tasks._frozen.rows import Kernel, prepare
from tasks._frozen.svm import (
    Shot,
    Trained,
    draw_sample,
    pick_by_cv,
    train_full,
    train_shot,
)
from tasks._shared.ranking import class_ap

# training rows, test rows, features, classes, classes LIBLINEAR solves, k
SIZES: dict[str, tuple[int, int, int, int, int, tuple[int, ...]]] = {
    "tiny": (300, 150, 64, 4, 2, (1, 2)),
    "small": (1500, 1000, 512, 20, 2, (1, 2, 4)),
    "paper": (5011, 4952, 2048, 20, 4, (1, 2, 4, 8, 16, 32, 64, 96)),
}
# of mAP in percent; with few test rows one swapped pair moves more
POINTS = {"tiny": 0.5, "small": 0.1, "paper": 0.05}


def make_up_features(n: int, d: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(n, d) float32 features like a network's (not negative, correlated, a spectrum that falls as
    a power law) and (n, classes) int8 labels, 1 or -1, 2 to 12 % of them 1, which the features
    tell apart in part."""
    rng = np.random.default_rng(seed)
    latent = 600
    scale = (1 + np.arange(latent)) ** -0.6
    z = rng.standard_normal((n, latent)) * scale
    f = 0.5 * z @ rng.standard_normal((latent, d)) + 0.3 * rng.standard_normal((n, d)) - 0.3
    scores = (z / scale**0.3) @ rng.standard_normal((latent, classes))
    scores = scores / scores.std(0) + 0.5 * rng.standard_normal(scores.shape)
    shares = rng.uniform(0.02, 0.12, classes)
    cut = np.array([np.quantile(scores[:, c], 1 - share) for c, share in enumerate(shares)])
    features = np.maximum(f, 0) * rng.gamma(1.0, 1.0, d)
    return features.astype(np.float32), np.where(scores > cut, 1, -1).astype(np.int8)


def _import_liblinear() -> None:
    """Now, for importing it takes seconds that are not its work."""
    check_solver("liblinear")
    import sklearn.exceptions
    import sklearn.svm  # noqa: F401


def full(scale: str) -> list[Work]:
    """The full protocol: cross-validated costs, all classes."""
    _import_liblinear()
    n, m, d, classes, part, _ = SIZES[scale]
    features, labels = make_up_features(n + m, d, classes)
    train, test, truth = features[:n], features[n:], labels[n:]
    costs = SvmParams().all_costs()

    def train_classes(solver: Solver, count: int) -> Trained:
        return train_full(train, labels[:n, :count], test, costs, solver, Progress())

    def compare(ours: Trained, theirs: Trained) -> tuple[float, dict[str, float]]:
        one, other = (100 * class_ap(truth[:, :part], x.scores[:, :part]) for x in (ours, theirs))
        same = int((ours.chosen[:part] == theirs.chosen).sum())
        return abs(float(one.mean() - other.mean())), {
            "classes compared": part,
            "same cost": same,
            "mAP": float(one.mean()),
            "plain mAP": float(other.mean()),
        }

    return [
        Work(
            "SVM",
            f"{n} x {d} features, {classes} classes x {len(costs)} costs; "
            f"plain: {part} classes, scaled",
            lambda: train_classes("batched", classes),
            lambda: train_classes("liblinear", part),
            compare,
            POINTS[scale],
            classes / part,
            long=True,
        )
    ]


def lowshot(scale: str) -> list[Work]:
    """One sample of every k; the cost of each by cross-validation."""
    _import_liblinear()
    n, m, d, classes, part, ks = SIZES[scale]
    features, labels = make_up_features(n + m, d, classes)
    truth, costs = labels[n:, :part], SvmParams().all_costs()
    samples = [draw_sample(labels[:n], k, 0) for k in ks]

    def train_classes(solver: Solver, count: int) -> list[Shot]:
        kernel, test = Kernel(features[:n]), prepare(features[n:])
        return [train_shot(kernel, test, sample[:, :count], costs, solver) for sample in samples]

    def compare(ours: list[Shot], theirs: list[Shot]) -> tuple[float, dict[str, float]]:
        p, q = (pick_by_cv([shot.cv[:, :part].mean(1) for shot in s]) for s in (ours, theirs))
        one, other = (_test_ap(truth, shots) for shots in (ours, theirs))
        at = [np.abs(a[i] - b[j]) for a, b, i, j in zip(one, other, p, q, strict=True)]
        return float(max(at)), {
            "classes compared": part,
            "samples": len(ks),
            "same cost": int(np.equal(p, q).sum()),
            "largest at any cost": float(np.abs(one - other).max()),
        }

    shown = ", ".join(map(str, ks))
    return [
        Work(
            "low-shot SVM",
            f"{n} x {d} features, a sample of {classes} classes at k = {shown}, "
            f"{len(costs)} costs; plain: {part} classes, scaled",
            lambda: train_classes("batched", classes),
            lambda: train_classes("liblinear", part),
            compare,
            POINTS[scale],
            classes / part,
            long=True,
        )
    ]


def _test_ap(truth: np.ndarray, shots: list[Shot]) -> np.ndarray:
    """(k, C) mAP in percent of the first classes."""
    part = truth.shape[1]
    return 100 * np.array(
        [[class_ap(truth, s[:, :part]).mean() for s in shot.scores] for shot in shots]
    )
