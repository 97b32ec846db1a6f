"""The settings of a segmentation protocol; a task is a class with its own defaults and scales."""

from __future__ import annotations

from typing import Literal

from bench.contracts.task import TaskParams
from bench.core.params import param

Side = tuple[int, int]


class SegmentationParams(TaskParams):
    """What every head shares. Defaults: Cityscapes, MMSegmentation's 40k schedule, the rate of
    paper 000."""

    iterations: int = param(40_000, ge=1, help="optimiser steps")
    batch_size: int = param(16, ge=1, help="crops per step")
    lr: float = param(
        0.02, gt=0, help="learning rate at the first step", search=["log", 1e-3, 0.1]
    )
    min_lr: float = param(1e-4, ge=0, help="learning rate after the last step")
    power: float = param(0.9, gt=0, help="of the polynomial between the two")
    head_lr: float = param(1.0, gt=0, help="the heads' rate as a multiple of the backbone's")
    momentum: float = param(0.9, ge=0, lt=1, help="of SGD")
    weight_decay: float = param(5e-4, ge=0, help="on every parameter")
    output_stride: Literal[8, 16] = param(
        8, help="pixels of the image per cell of the last feature map"
    )
    crop: Side = param((512, 1024), help="height and width of a training crop")
    short: int = param(
        0, ge=0, help="short side of images, before the random scale and at test; 0: their own"
    )
    longest: int = param(2048, ge=32, help="longest side where `short` is used")
    scale: tuple[float, float] = param((0.5, 2.0), help="range of the random scale, uniform")
    max_share: float = param(
        0.75, gt=0, le=1, help="a crop in which one class has a larger share is drawn again"
    )
    photometric: bool = param(True, help="random brightness, contrast, saturation and hue")
    width: int = param(512, ge=8, help="channels of the head")
    dropout: float = param(0.1, ge=0, lt=1, help="of channels, before the classifier")
    aux_weight: float = param(
        0.4, ge=0, help="weight of the loss on the third stage; 0: no such head"
    )
    aux_width: int = param(256, ge=8, help="channels of that head")
    inference: Literal["whole", "slide"] = param(
        "whole", help="the whole image at once, or windows"
    )
    window: Side = param((512, 1024), help="height and width of a window")
    stride: Side = param((342, 683), help="distance of windows, vertical and horizontal")


class FcnParams(SegmentationParams):
    """A fully convolutional head."""

    convs: int = param(2, ge=1, help="3x3 convolutions of the head")
    concat: bool = param(
        True, help="a further 3x3 convolution sees their output beside their input"
    )


class PsaParams(SegmentationParams):
    """A point-wise spatial attention head."""

    mask: Side = param((97, 97), help="height and width, odd, of a position's over-completed map")
    shrink: int = param(2, ge=1, help="factor by which the feature map is reduced for attention")
    normalise: Literal["softmax", "count"] = param(
        "softmax", help="of attention: softmax over the sources, or a division by their number"
    )


def poly(step: int, p: SegmentationParams) -> float:
    """(lr - min_lr) * (1 - step / iterations) ** power + min_lr."""
    return (p.lr - p.min_lr) * (1 - step / p.iterations) ** p.power + p.min_lr
