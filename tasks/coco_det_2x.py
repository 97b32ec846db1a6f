"""COCO detection and instance segmentation: Mask R-CNN R-FPN 2x, fine-tuned end to end."""

from __future__ import annotations

from tasks._detection.protocol import MaskFpnParams, change_defaults
from tasks._detection.task import (
    SMALL,
    SMALL_RPN,
    TINY_MASKS,
    DetectionTask,
    name_metrics,
)


class CocoDet2x(DetectionTask):
    """The COCO task with the 2x schedule, paper 001 Table 4: 180,000 iterations, divided by 10 at
    120k and 160k."""

    Params = change_defaults(MaskFpnParams, iterations=180_000, steps=(120_000, 160_000))
    headline = "AP_bbox"
    metrics = name_metrics("bbox", "segm")
    data = {"tiny": "scenes", "": "coco"}
    scales = {
        "tiny": {
            **TINY_MASKS,
            "iterations": 1440,
            "steps": (1080, 1320),
        },
        "small": {
            **SMALL,
            **SMALL_RPN,
            "canonical": 112,
            "iterations": 18_000,
            "steps": (12_000, 16_000),
        },
    }
