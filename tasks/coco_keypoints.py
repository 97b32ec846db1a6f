"""COCO human keypoints: Keypoint R-CNN R-FPN, fine-tuned end to end, OKS AP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tasks._detection.protocol import KeypointParams, change_defaults
from tasks._detection.task import (
    SMALL,
    SMALL_RPN,
    TINY,
    TINY_FPN,
    TINY_RPN,
    DetectionTask,
    name_metrics,
)


class CocoKeypoints(DetectionTask):
    """Keypoint R-CNN R50-FPN: paper 003 Table 3.

    Persons only; images with a labelled keypoint. The paper gives no schedule, its published
    settings are 2x: 180,000 iterations of 16 images, SGD .02 (divided by 10 at 120k and 160k),
    smooth L1 of beta .5 for boxes, 1,500 proposals in training; 8 convolutions of 512 channels in
    the keypoint head. The box head has no convolutions there: 2 fully connected layers. Keypoint
    AP is by object keypoint similarity.
    """

    Params = change_defaults(
        KeypointParams,
        iterations=180_000,
        steps=(120_000, 160_000),
        proposals_train=1500,
        box_convs=0,
        box_fcs=2,
    )
    headline = "AP_keypoints"
    metrics = name_metrics("keypoints", "bbox")
    data = {"tiny": "scenes_keypoints", "": "coco"}
    scales = {
        "tiny": {
            **TINY,
            **TINY_RPN,
            **TINY_FPN,
            "keypoint_convs": 2,
            "keypoint_width": 64,
            "box_convs": 0,
        },
        "small": {
            **SMALL,
            **SMALL_RPN,
            "canonical": 112,
            "iterations": 18_000,
            "steps": (12_000, 16_000),
        },
    }

    @classmethod
    def peer(cls) -> Callable[..., Any]:
        from tasks._detection.speed import keypoints

        return keypoints
