"""PASCAL VOC 07+12 detection: Faster R-CNN FPN, 24k iterations, VOC2007's AP."""

from __future__ import annotations

from tasks._detection.protocol import VocFpnParams, change_defaults
from tasks._detection.task import (
    SMALL,
    SMALL_RPN,
    TINY_FROZEN,
    VOC_METRICS,
    VOC_SIZES,
    DetectionTask,
)


class Voc0712DetFpn(DetectionTask):
    """Faster R-CNN R50-FPN: paper 003 Table 3, 24,000 iterations on 2007 and 2012 trainval, test
    on 2007.

    The network is that of the COCO task without masks (batch norm in pyramid and box head); the
    paper gives the iterations only, the other settings are those of VOC 07+12 with C4.
    """

    Params = change_defaults(
        VocFpnParams, iterations=24_000, steps=(18_000, 22_000), warmup=100, sizes=VOC_SIZES
    )
    headline = "AP"
    metrics = VOC_METRICS
    data = {"tiny": "scenes", "": "voc0712"}
    scales = {
        "tiny": TINY_FROZEN,
        "small": {**SMALL, **SMALL_RPN, "canonical": 112},
    }
