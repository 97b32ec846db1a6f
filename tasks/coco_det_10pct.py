"""COCO detection and instance segmentation with a tenth of the labels, 27k iterations."""

from __future__ import annotations

from tasks._detection.protocol import MaskFpnParams, change_defaults
from tasks._detection.task import (
    SMALL,
    SMALL_RPN,
    TINY_MASKS,
    DetectionTask,
    name_metrics,
)


class CocoDet10pct(DetectionTask):
    """The COCO task on 10 % of train2017, 27,000 iterations: paper 003 Table 2.

    Neither the paper's images nor its schedule is published. Here: the images with the smallest
    sha256 of "seed/id" for seed 0, their ids and hash in `subset.json`; divided by 10 at 18k and
    24k, about the shares of the 1x schedule.
    """

    Params = change_defaults(
        MaskFpnParams, iterations=27_000, steps=(18_000, 24_000), fraction=0.1
    )
    headline = "AP_bbox"
    metrics = name_metrics("bbox", "segm")
    data = {"tiny": "scenes", "": "coco"}
    scales = {
        "tiny": {
            **TINY_MASKS,
            "iterations": 360,
            "steps": (240, 320),
        },
        "small": {
            **SMALL,
            **SMALL_RPN,
            "canonical": 112,
            "iterations": 2700,
            "steps": (1800, 2400),
        },
    }
