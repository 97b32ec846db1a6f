"""CamVid segmentation, 11 classes: a fully convolutional head on a dilated ResNet, 10,000
iterations."""

from __future__ import annotations

from bench.core.params import param
from tasks._segmentation.protocol import FcnParams, Side
from tasks._segmentation.task import TINY_FCN, SegmentationTask


class CamvidSegParams(FcnParams):
    """FCN-D8 on CamVid."""

    iterations: int = param(10_000, ge=1, help="Steps of the optimiser")
    lr: float = param(
        0.01, gt=0, help="Learning rate of the first step", search=["log", 1e-3, 0.1]
    )
    crop: Side = param((360, 480), help="Height and width of a training crop, pixels")
    window: Side = param((360, 480), help="Height and width of a test window, pixels")
    stride: Side = param(
        (240, 320), help="Distance between windows, vertical and horizontal, pixels"
    )


class CamvidSeg(SegmentationTask):
    """FCN-R50 (Long et al. 2015) as `voc12_seg`, at CamVid's 480x360 and for 10k iterations: a
    small stand-in for Cityscapes. The settings are ours; none of the four papers reports CamVid.
    """

    Params = CamvidSegParams
    params: CamvidSegParams
    data = {"tiny": "scenes", "": "camvid"}
    scales = {
        "tiny": {**TINY_FCN, "short": 112, "longest": 224},
        "small": {
            "iterations": 4000,
            "batch_size": 8,
            "crop": (180, 240),
            "short": 180,
            "width": 256,
            "aux_width": 128,
            "window": (180, 240),
            "stride": (120, 160),
        },
    }
