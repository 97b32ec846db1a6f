"""PASCAL VOC 2007 detection: Faster R-CNN C4 on trainval, as many epochs as 07+12."""

from __future__ import annotations

from tasks._detection.protocol import VocC4Params, change_defaults
from tasks._detection.task import SMALL, SMALL_RPN, TINY, TINY_C4, VOC_METRICS, VOC_SIZES, C4Task


class Voc07Det(C4Task):
    """Faster R-CNN C4 trained on 2007 trainval, scored on 2007 test: paper 000 Tables 1, 2 and 13
    to 15, which report AP50.

    The paper gives neither iterations nor rate. Here all is as in VOC 07+12 but for the schedule,
    which has the same 23 epochs: 7,300 iterations, divided by 10 at 5,500 and 6,700. That choice
    is ours.
    """

    Params = change_defaults(
        VocC4Params, iterations=7300, steps=(5500, 6700), warmup=100, sizes=VOC_SIZES
    )
    headline = "AP50"
    metrics = VOC_METRICS
    data = {"tiny": "scenes", "": "voc2007"}
    scales = {
        "tiny": {**TINY, **TINY_C4},
        "small": {**SMALL, **SMALL_RPN},
    }
