"""Describable Textures, fine-tuned end to end: top-1 accuracy on the first division."""

from __future__ import annotations

from tasks._classification.task import TransferTask


class Dtd(TransferTask):
    """47 textures, train and validation images of the first of ten divisions to its test images,
    where classes are equal. For another division: `--set dtd.train=train2+val2 --set
    dtd.val=test2`.
    """

    data = {"tiny": "scenes_objects", "": "dtd"}
