"""PASCAL VOC 2012 segmentation: a fully convolutional head on a dilated ResNet, 20k iterations."""

from __future__ import annotations

from bench.core.params import param
from tasks._segmentation.protocol import FcnParams, Side
from tasks._segmentation.task import TINY_FCN, SegmentationTask


class Voc12SegParams(FcnParams):
    """FCN-D8 on VOC 2012."""

    iterations: int = param(20_000, ge=1, help="Steps of the optimiser")
    lr: float = param(
        0.01, gt=0, help="Learning rate of the first step", search=["log", 1e-3, 0.1]
    )
    crop: Side = param((512, 512), help="Height and width of a training crop, pixels")
    short: int = param(
        512, ge=0, help="Short side of images at test and before the random scale, pixels"
    )
    window: Side = param((512, 512), help="Height and width of a test window, pixels")
    stride: Side = param(
        (341, 341), help="Distance between windows, vertical and horizontal, pixels"
    )


class Voc12Seg(SegmentationTask):
    """FCN-R50 (Long et al. 2015) in MMSegmentation's 20k schedule, as in DenseCL's transfer table:
    21 classes with background, images at short side 512, crops of 512x512 at scales .5-2, rate .01
    at batch 16.

    Trains on the 1,464 images of `Segmentation/train`, where DenseCL takes the 10,582 of
    train_aug: data `voc2012_seg` says how to have those. Scored on `Segmentation/val`. None of the
    four papers reports it.
    """

    Params = Voc12SegParams
    params: Voc12SegParams
    data = {"tiny": "scenes", "": "voc2012_seg"}
    scales = {
        "tiny": {**TINY_FCN, "short": 112, "longest": 224},
        "small": {
            "iterations": 6000,
            "batch_size": 8,
            "crop": (256, 256),
            "short": 256,
            "longest": 1024,
            "width": 256,
            "aux_width": 128,
            "window": (256, 256),
            "stride": (171, 171),
        },
    }
