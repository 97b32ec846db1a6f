"""COCO detection and instance segmentation with a vision transformer: ViTDet, Mask R-CNN."""

from __future__ import annotations

from tasks._detection.protocol import VitDetParams, change_defaults
from tasks._detection.task import (
    SMALL_VIT,
    TINY_FPN,
    TINY_RPN,
    TINY_VIT,
    VITDET,
    VitDetTask,
    name_metrics,
)


class CocoVitdet(VitDetTask):
    """Mask R-CNN on a plain vision transformer, ViTDet's settings (Li et al. 2022, ViT-B): paper
    000 Table 5.

    100 epochs: 184,375 iterations of 64 images, AdamW 1e-4 (warm-up 250; divided by 10 at 163,889
    and 177,546), weight decay .1, rates times .7 from one block to the one before, stochastic
    depth .1; crops of 1,024 with large scale jitter, longest side 1,024 at test. Attention in
    windows of 14 x 14 but for 4 blocks; layer norm in the heads. ViTDet trains with mixed
    precision, this does not.
    """

    Params = change_defaults(VitDetParams, **VITDET)
    headline = "AP_bbox"
    metrics = name_metrics("bbox", "segm")
    data = {"tiny": "scenes", "": "coco"}
    scales = {
        "tiny": {**TINY_RPN, **TINY_FPN, **TINY_VIT},
        "small": SMALL_VIT,
    }
