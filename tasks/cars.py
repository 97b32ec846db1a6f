"""Stanford Cars, fine-tuned end to end: top-1 accuracy."""

from __future__ import annotations

from tasks._classification.task import TransferTask


class Cars(TransferTask):
    """196 makes, models and years, train to test. Paper 001's Table 10 reports an accuracy without
    its protocol; Kornblith et al. 2019 and SimCLR report top-1."""

    data = {"tiny": "scenes_objects", "": "cars"}
