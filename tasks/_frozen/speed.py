"""CPU time of the batched SVM solver against LIBLINEAR on made-up features, for `bench perf eval`."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from bench.engine.context import Progress
from tasks._frozen.solver import Kernel, prepare
from tasks._frozen.svm import draw_sample, train_full, train_shot
from tasks._ranking import class_ap


def made_up(n: int, d: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(n, d) float32 features like a network's (not negative, correlated, a spectrum that falls as a power
    law)
    and (n, classes) int8 labels, 1 or -1, 2 to 12 % of them 1, which the features tell apart in part."""
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


def full_protocol(
    n: int, m: int, d: int, classes: int, costs: np.ndarray, timed: int | None = None
) -> dict[str, Any]:
    """CPU seconds of the full protocol with each solver on n training and m test rows, the mAP of each and
    how
    many costs agree. timed: classes given to LIBLINEAR (its time is then scaled up, its results compared
    on those classes)."""
    features, labels = made_up(n + m, d, classes)
    k = timed or classes
    start = time.process_time()
    batched = train_full(features[:n], labels[:n], features[n:], costs, "batched", Progress())
    middle = time.process_time()
    one_by_one = train_full(features[:n], labels[:n, :k], features[n:], costs, "liblinear", Progress())
    seconds = (middle - start, (time.process_time() - middle) * classes / k)
    truth = labels[n:, :k]
    return {
        "batched_s": seconds[0], "liblinear_s": seconds[1], "ratio": seconds[1] / seconds[0],
        "same_cost": int((batched.chosen[:k] == one_by_one.chosen).sum()), "of": k,
        "batched_mAP": 100 * float(class_ap(truth, batched.scores[:, :k]).mean()),
        "liblinear_mAP": 100 * float(class_ap(truth, one_by_one.scores).mean()),
    }  # fmt: skip


def lowshot_protocol(
    n: int, m: int, d: int, classes: int, ks: tuple[int, ...], costs: np.ndarray
) -> dict[str, Any]:
    """CPU seconds of one low-shot sample of every k with each solver, and the largest difference of a mean AP
    over classes (percent) at any k and cost."""
    features, labels = made_up(n + m, d, classes)
    seconds, found = [], []
    for solver in ("batched", "liblinear"):
        start = time.process_time()
        kernel, test = Kernel(features[:n]), prepare(features[n:])
        shots = [train_shot(kernel, test, draw_sample(labels[:n], k, 0), costs, solver) for k in ks]  # type: ignore[arg-type]
        seconds.append(time.process_time() - start)
        found.append([[class_ap(labels[n:], s).mean() for s in shot.scores] for shot in shots])
    difference = 100 * float(np.abs(np.subtract(*found)).max())
    return {
        "batched_s": seconds[0], "liblinear_s": seconds[1], "ratio": seconds[1] / seconds[0],
        "largest_AP_difference": difference,
    }  # fmt: skip
