"""MIT Indoor 67, fine-tuned end to end: accuracy, mean of the 67 rooms."""

from __future__ import annotations

from tasks._classification.task import TransferTask


class Indoor67(TransferTask):
    """67 kinds of rooms, train to test. The mean of the classes' accuracies counts (Quattoni and
    Torralba 2009)."""

    headline = "mean_per_class"
    data = {"tiny": "scenes_objects", "": "indoor67"}
