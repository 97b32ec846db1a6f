"""Oxford Flowers 102, fine-tuned end to end: accuracy, mean of the 102 species."""

from __future__ import annotations

from tasks._classification.task import TransferTask


class Flowers(TransferTask):
    """102 species, trnid and valid to tstid. The mean of the classes' accuracies counts (Nilsback
    and Zisserman 2008; Kornblith et al. 2019): the test set has between 20 and 238 images of a
    class.
    """

    headline = "mean_per_class"
    data = {"tiny": "scenes_objects", "": "flowers"}
