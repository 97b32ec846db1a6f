"""FGVC-Aircraft, fine-tuned end to end: accuracy, mean of the 100 variants."""

from __future__ import annotations

from tasks._classification.task import TransferTask


class Aircraft(TransferTask):
    """100 variants, trainval to test. The authors' measure, and that of Kornblith et al. 2019, is
    the mean of the classes' accuracies; paper 001's Table 10 says "accuracy" without its protocol
    (`top1` is beside it).
    """

    headline = "mean_per_class"
    data = {"tiny": "scenes_objects", "": "aircraft"}
