"""PASCAL VOC 07+12 detection: Faster R-CNN C4, 24k iterations, VOC2007's AP."""

from __future__ import annotations

from tasks._detection.protocol import VocC4Params, change_defaults
from tasks._detection.task import SMALL, SMALL_RPN, TINY, TINY_C4, VOC_METRICS, VOC_SIZES, C4Task


class Voc0712Det(C4Task):
    """Faster R-CNN C4 with one more batch norm after the last stage: papers 000 Table 6, 001
    Tables 5 to 9.

    Train on 2007 and 2012 trainval with the difficult objects, score on 2007 test without them: AP
    is the mean over IoU .5:.95 of the 11-point AP. 24,000 iterations of 16 images, SGD .02
    (warm-up 100; divided by 10 at 18k and 22k), short side 480-800 at random, 800 at test. The
    settings are MoCo's; AP varies by about .2 between seeds, so that the papers take the mean of 3
    or 5.
    """

    Params = change_defaults(
        VocC4Params, iterations=24_000, steps=(18_000, 22_000), warmup=100, sizes=VOC_SIZES
    )
    headline = "AP"
    metrics = VOC_METRICS
    data = {"tiny": "scenes", "": "voc0712"}
    scales = {
        "tiny": {**TINY, **TINY_C4},
        "small": {**SMALL, **SMALL_RPN},
    }
