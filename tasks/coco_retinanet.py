"""COCO detection in one stage: RetinaNet R-FPN 1x, fine-tuned end to end."""

from __future__ import annotations

from tasks._detection.protocol import RetinaParams, change_defaults
from tasks._detection.task import SMALL, TINY, DetectionTask, name_metrics


class CocoRetinanet(DetectionTask):
    """RetinaNet R50-FPN, 1x schedule: paper 003 Table 3.

    90,000 iterations of 16 images, SGD .01 (warm-up 1,000; divided by 10 at 60k and 80k), short
    side 640-800 at random, 800 at test. Batch norm in backbone and pyramid, group norm in the
    heads, as the paper's text says; its published settings have none there: head_norm=none.
    """

    Params = change_defaults(RetinaParams, lr=0.01)
    headline = "AP_bbox"
    metrics = name_metrics("bbox")
    data = {"tiny": "scenes", "": "coco"}
    scales = {
        "tiny": {
            **TINY,
            "anchors": (8, 16, 32, 64, 128),
            "fpn": 64,
            "head_convs": 2,
            "candidates": 200,
            "lr": 0.02,
        },
        "small": {**SMALL, "anchors": (16, 32, 64, 128, 256), "lr": 0.005},
    }
