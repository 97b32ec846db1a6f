"""The settings of a detection protocol; a task is a class with its own defaults and scales."""

from __future__ import annotations

from typing import Literal

from bench.params import Params, param


class DetectionParams(Params):
    """Mask R-CNN R50-FPN 1x in the InfoMin setup (papers 002 and 003): every number of the protocol."""

    engine: Literal["torchvision", "detectron2"] = param(
        "torchvision", help="detector library; part of the key"
    )
    iterations: int = param(90_000, ge=1, help="optimiser steps")
    steps: tuple[int, ...] = param((60_000, 80_000), help="iterations after which the rate falls by 10")
    warmup: int = param(1000, ge=0, help="iterations of linear warm-up, from 1/1000 of the rate")
    batch_size: int = param(16, ge=1, help="images per step")
    lr: float = param(0.02, gt=0, help="learning rate", search=["log", 1e-3, 0.1])
    momentum: float = param(0.9, ge=0, lt=1, help="of SGD")
    weight_decay: float = param(1e-4, ge=0, help="not on normalisation layers")
    precise_bn: int = param(200, ge=0, help="batches over which batch-norm statistics are taken afterwards")
    sizes: tuple[int, ...] = param((640, 672, 704, 736, 768, 800), help="training short sides, one at random")
    test_size: int = param(800, ge=32, help="short side at test")
    max_size: int = param(1333, ge=32, help="longest side")
    fpn: int = param(256, ge=8, help="channels of the feature pyramid")
    box_convs: int = param(4, ge=0, help="3x3 convolutions of the box head")
    box_width: int = param(256, ge=8, help="their channels")
    box_fc: int = param(1024, ge=8, help="width of the box head's fully connected layer")
    mask_convs: int = param(4, ge=1, help="3x3 convolutions of the mask head")
    mask_width: int = param(256, ge=8, help="their channels")
    anchors: tuple[float, ...] = param((32, 64, 128, 256, 512), help="anchor side per pyramid level, pixels")
    canonical: float = param(224, gt=0, help="box side that is pooled from the third of the four levels")
    rpn_train: int = param(2000, ge=8, help="proposals kept per level before suppression, training")
    rpn_test: int = param(1000, ge=8, help="the same at test")
    proposals: int = param(1000, ge=8, help="proposals kept per image after suppression")
    rpn_batch: int = param(256, ge=2, help="anchors sampled per image")
    rois: int = param(512, ge=2, help="proposals sampled per image, a quarter positive")
    detections: int = param(100, ge=1, help="most detections of an image")
