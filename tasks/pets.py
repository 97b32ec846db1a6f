"""Oxford-IIIT Pets, fine-tuned end to end: accuracy, mean of the 37 breeds."""

from __future__ import annotations

from tasks._classification.task import TransferTask


class Pets(TransferTask):
    """37 breeds, trainval to test. The mean of the classes' accuracies counts (Parkhi et al. 2012;
    Kornblith et al. 2019)."""

    headline = "mean_per_class"
    data = {"tiny": "scenes_objects", "": "pets"}
