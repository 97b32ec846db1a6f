"""Cityscapes segmentation: a fully convolutional head on a dilated ResNet, 40,000 iterations."""

from __future__ import annotations

from bench.core.params import param
from tasks._segmentation.protocol import FcnParams
from tasks._segmentation.task import TINY_FCN, SegmentationTask


class CityscapesFcnParams(FcnParams):
    """FCN-D8 on Cityscapes."""

    lr: float = param(
        0.01, gt=0, help="Learning rate of the first step", search=["log", 1e-3, 0.1]
    )
    batch_size: int = param(8, ge=1, help="Crops of a step")


class CityscapesFcn(SegmentationTask):
    """FCN-R50 (Long et al. 2015) in MMSegmentation's 40k schedule: rate .01 at batch 8, else as
    `cityscapes_seg`. None of the four papers reports it; it tells the backbone from the attention.
    """

    Params = CityscapesFcnParams
    params: CityscapesFcnParams
    data = {"tiny": "scenes", "": "cityscapes"}
    scales = {
        "tiny": TINY_FCN,
        "small": {
            "iterations": 8000,
            "crop": (256, 512),
            "short": 512,
            "width": 256,
            "aux_width": 128,
            "window": (256, 512),
            "stride": (171, 342),
        },
    }
