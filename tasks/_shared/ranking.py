"""Average precision of ranked scores, in the three ways that protocols use; top-k."""

from __future__ import annotations

from typing import Literal

import numpy as np

from tasks._shared.finite import require_finite

ApKind = Literal["interpolated", "11point", "area"]


def average_precision(
    relevant: np.ndarray, scores: np.ndarray, kind: ApKind = "interpolated"
) -> float:
    """AP of `scores` (n,) for `relevant` (n,) bool, in [0, 1]; nan where nothing is relevant.

    With precision p(k) and recall r(k) of the k best, in order of falling score:

    - "interpolated": sum over k of (r(k) - r(k-1)) max_{j >= k} p(j): the area under the monotone
      precision-recall curve, VOC 2010 and later, and paper 002's SVM protocol.
    - "11point": mean over t = 0, .1, ..., 1 of max {p(k): r(k) >= t}: VOC 2007 (Everingham et al.
      2010).
    - "area": sum over k of (r(k) - r(k-1)) p(k), no interpolation: scikit-learn's
      `average_precision_score`.

    k are the ranks at which a score is the last of its value: equal scores are one step, of which
    nothing is in front. All scores equal give the share of relevant ones. The published code's
    `argsort()[::-1]` ranks them in reverse order of position instead, so that its number depends
    on the order of the images. StageFailed for scores that are not finite.
    """
    require_finite(np.asarray(scores), "scores")
    relevant = np.asarray(relevant, bool)
    if not relevant.any():
        return float("nan")
    order = np.argsort(scores, kind="stable")[::-1]
    ranked = np.asarray(scores)[order]
    last = np.append(ranked[1:] != ranked[:-1], True)
    hits = np.cumsum(relevant[order])[last]
    precision, recall = hits / (np.flatnonzero(last) + 1), hits / hits[-1]
    if kind == "area":
        return float(np.sum(np.diff(recall, prepend=0.0) * precision))
    best = np.maximum.accumulate(precision[::-1])[::-1]
    if kind == "interpolated":
        return float(np.sum(np.diff(recall, prepend=0.0) * best))
    at = [np.searchsorted(hits, np.ceil(t * hits[-1] / 10 - 1e-9)) for t in range(11)]
    return float(np.mean(best[at]))


def class_ap(labels: np.ndarray, scores: np.ndarray, kind: ApKind = "interpolated") -> np.ndarray:
    """(K,) AP of each class. labels: (N, K), 1 relevant, 0 left out of that class, -1 not relevant
    (the values of `bench.data.semantic.image_labels`). scores: (N, K). nan for a class without a
    relevant image."""
    aps = []
    for k in range(labels.shape[1]):
        counted = labels[:, k] != 0
        aps.append(average_precision(labels[counted, k] == 1, scores[counted, k], kind))
    return np.array(aps)


def batch_map(labels: np.ndarray, scores: np.ndarray, batch: int) -> float:
    """Mean over consecutive batches of the mean AP ("area") of the classes with a relevant image
    in the batch: what paper 001's code reports; noisy and higher than the AP of the whole set."""
    parts = []
    for start in range(0, len(labels), batch):
        part = slice(start, start + batch)
        ap = class_ap(labels[part], scores[part], "area")
        if not np.isnan(ap).all():
            parts.append(np.nanmean(ap))
    return float(np.mean(parts)) if parts else float("nan")


def top_k(labels: np.ndarray, scores: np.ndarray, k: int) -> float:
    """Share of rows whose label (N,) is among the k best of scores (N, K); ties by position.
    StageFailed for scores that are not finite."""
    require_finite(scores, "scores")
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return float((best == np.asarray(labels)[:, None]).any(1).mean())
