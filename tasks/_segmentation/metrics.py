"""The confusion matrix of pixels, and what follows from it: mIoU, mAcc, aAcc."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from bench.core.errors import BadData
from bench.data.semantic import VOID


def count_confusion(truth: Tensor, predicted: Tensor, classes: int) -> np.ndarray:
    """(K, K) int64 pixels of an image: rows the class that is there, columns the one that was
    predicted; void is not counted. truth: (H, W) in 0..K-1 or 255, predicted: (H, W) in 0..K-1."""
    scored = truth != VOID
    pairs = truth[scored].long() * classes + predicted[scored].long()
    return torch.bincount(pairs, minlength=classes**2).cpu().numpy().reshape(classes, classes)


def iou_and_accuracy(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Per class TP / (TP + FP + FN) and TP / (TP + FN), float64; NaN where the divisor is 0."""
    hits, there, predicted = np.diag(matrix), matrix.sum(1), matrix.sum(0)
    with np.errstate(invalid="ignore"):
        return hits / (there + predicted - hits), hits / there


def segmentation_metrics(matrix: np.ndarray) -> dict[str, float]:
    """mIoU and mAcc, means over the classes where they are defined, and aAcc, all in percent.

    BadData if no pixel was scored."""
    if not matrix.sum():
        raise BadData(
            "no pixel of the split to score on has a class: its masks are void everywhere"
        )
    iou, accuracy = iou_and_accuracy(matrix)
    return {
        "mIoU": 100 * float(np.nanmean(iou)),
        "mAcc": 100 * float(np.nanmean(accuracy)),
        "aAcc": 100 * float(np.trace(matrix) / matrix.sum()),
    }


def per_class(matrix: np.ndarray, classes: list[str]) -> dict[str, dict[str, float]]:
    """IoU and accuracy in percent by class name; a class where one is not defined lacks it."""
    table: dict[str, dict[str, float]] = {}
    for name, *values in zip(classes, *iou_and_accuracy(matrix), strict=True):
        figures = zip(("IoU", "Acc"), values, strict=True)
        table[name] = {what: 100 * float(value) for what, value in figures if np.isfinite(value)}
    return table
