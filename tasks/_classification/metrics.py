"""What fine-tuned classifications are scored by, in percent."""

from __future__ import annotations

import numpy as np

from bench.core.errors import BadData
from tasks._shared.ranking import ApKind, class_ap, top_k

MULTI_KINDS: dict[str, ApKind] = {
    "mAP": "11point",
    "mAP_interpolated": "interpolated",
    "mAP_area": "area",
}


def single_metrics(labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """top1, top5 and mean_per_class of labels (N,) and scores (N, K)."""
    recalls = class_recalls(labels, scores.argmax(1), scores.shape[1])
    return {
        "top1": 100 * top_k(labels, scores, 1),
        "top5": 100 * top_k(labels, scores, 5),
        "mean_per_class": 100 * float(np.nanmean(recalls)),
    }


def class_recalls(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """(K,) share of each class's images that are found; nan for a class without an image."""
    there = np.bincount(labels, minlength=classes).astype(np.float64)
    right = np.bincount(labels[labels == predicted], minlength=classes)
    return np.divide(right, there, out=np.full(classes, np.nan), where=there > 0)


def multi_metrics(targets: np.ndarray, scores: np.ndarray) -> tuple[dict[str, float], np.ndarray]:
    """Means over the classes with a positive image of the three kinds of average precision, and
    the first kind by class (K,). targets: (N, K) of `image_labels`, zeros are left out of their
    class."""
    by_kind = {name: class_ap(targets, scores, kind) for name, kind in MULTI_KINDS.items()}
    if np.isnan(by_kind["mAP"]).all():
        raise BadData("no class has a positive image to score")
    return {name: 100 * float(np.nanmean(ap)) for name, ap in by_kind.items()}, by_kind["mAP"]
