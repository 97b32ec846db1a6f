"""COCO detection and instance segmentation with a vision transformer: ViTDet, Cascade R-CNN."""

from __future__ import annotations

from typing import Any, ClassVar

from bench.params import Params
from tasks._detection.protocol import CascadeVitDetParams, changed
from tasks._detection.task import SMALL_VIT, TINY_FPN, TINY_RPN, TINY_VIT, VITDET, VitDetTask, coco_names


class CocoVitdetCascade(VitDetTask):
    """The ViTDet task with Cascade R-CNN's three box heads: paper 000 Table 5, second part.

    Positive from IoU .5, .6 and .7, box deltas shared by the classes (Cai and Vasconcelos 2018); all else as
    with one head.
    """

    Params: ClassVar[type[Params]] = changed(CascadeVitDetParams, **VITDET)
    headline: ClassVar[str] = "AP_bbox"
    metrics: ClassVar[dict[str, str]] = coco_names("bbox", "segm")
    data: ClassVar[dict[str, str]] = {"tiny": "scenes", "": "coco"}
    scales: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {**TINY_RPN, **TINY_FPN, **TINY_VIT},
        "small": SMALL_VIT,
    }
