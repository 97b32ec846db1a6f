"""COCO detection and instance segmentation: Mask R-CNN R-FPN 1x, fine-tuned end to end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tasks._detection.protocol import MaskFpnParams
from tasks._detection.task import SMALL, SMALL_RPN, TINY_MASKS, DetectionTask, name_metrics


class CocoDet(DetectionTask):
    """Mask R-CNN R50-FPN, 1x schedule, InfoMin setup: papers 002 Table 4 and 003 Table 1.

    Train on train2017, score on val2017, COCO's AP, in percent. 90,000 iterations of 16 images,
    SGD .02 (warm-up 1,000 iterations from 1/1000; divided by 10 at 60k and 80k), weight decay 1e-4
    but not on normalisation, short side 640-800 at random, 800 at test, longest side 1333, flips.
    All layers train, batch norm in backbone, pyramid, box head (4 convolutions and 1 fully
    connected layer) and mask head; statistics taken over 200 batches before scoring. A size bin
    without objects is left out of the metrics.
    """

    Params = MaskFpnParams
    params: MaskFpnParams
    headline = "AP_bbox"
    metrics = name_metrics("bbox", "segm")
    data = {"tiny": "scenes", "": "coco"}
    scales = {
        "tiny": TINY_MASKS,
        "small": {**SMALL, **SMALL_RPN, "canonical": 112},
    }

    @classmethod
    def peer(cls) -> Callable[..., Any]:
        from tasks._detection.speed import boxes_and_masks

        return boxes_and_masks
