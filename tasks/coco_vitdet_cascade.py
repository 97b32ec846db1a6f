"""COCO detection and instance segmentation with a vision transformer: ViTDet, Cascade R-CNN."""

from __future__ import annotations

from tasks._detection.protocol import CascadeVitDetParams, change_defaults
from tasks._detection.task import (
    SMALL_VIT,
    TINY_FPN,
    TINY_RPN,
    TINY_VIT,
    VITDET,
    VitDetTask,
    name_metrics,
)


class CocoVitdetCascade(VitDetTask):
    """The ViTDet task with Cascade R-CNN's three box heads: paper 000 Table 5, second part.

    Positive from IoU .5, .6 and .7, box deltas shared by the classes (Cai and Vasconcelos 2018);
    all else as with one head.
    """

    Params = change_defaults(CascadeVitDetParams, **VITDET)
    headline = "AP_bbox"
    metrics = name_metrics("bbox", "segm")
    data = {"tiny": "scenes", "": "coco"}
    scales = {
        "tiny": {**TINY_RPN, **TINY_FPN, **TINY_VIT},
        "small": SMALL_VIT,
    }
