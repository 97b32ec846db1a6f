"""COCO detection and instance segmentation: Mask R-CNN C4 1x, fine-tuned end to end."""

from __future__ import annotations

from tasks._detection.protocol import MaskC4Params
from tasks._detection.task import SMALL, SMALL_RPN, TINY, TINY_C4, C4Task, name_metrics


class CocoDetC4(C4Task):
    """Mask R-CNN C4 with one more batch norm after the last stage, 1x schedule: paper 000 Tables 4
    and 9.

    90,000 iterations of 16 images, SGD .02 (warm-up 1,000; divided by 10 at 60k and 80k), short
    side 640-800 at random, 800 at test; batch norm trains everywhere. Masks are predicted at 14 x
    14 from the head's features.
    """

    Params = MaskC4Params
    headline = "AP_bbox"
    metrics = name_metrics("bbox", "segm")
    data = {"tiny": "scenes", "": "coco"}
    scales = {
        "tiny": {**TINY, **TINY_C4, "mask_width": 64},
        "small": {**SMALL, **SMALL_RPN},
    }
