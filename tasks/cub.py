"""Caltech-UCSD Birds 200-2011, fine-tuned end to end: top-1 accuracy."""

from __future__ import annotations

from tasks._classification.task import TransferTask


class Cub(TransferTask):
    """200 species, train to test. Paper 001's Table 10 reports an accuracy without its protocol;
    as the test set has nearly equal classes, top-1 and the mean of classes hardly differ."""

    data = {"tiny": "scenes_objects", "": "cub"}
