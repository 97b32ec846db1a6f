"""The settings of a segmentation protocol; a task is a class with its own defaults and scales."""

from __future__ import annotations

from typing import Literal

from bench.contracts.task import TaskParams
from bench.core.params import param

Side = tuple[int, int]


class SegmentationParams(TaskParams):
    """What every head shares. Defaults: Cityscapes, MMSegmentation's 40k schedule, the rate of
    paper 000."""

    iterations: int = param(40_000, ge=1, help="Steps of the optimiser")
    batch_size: int = param(16, ge=1, help="Crops of a step")
    lr: float = param(
        0.02, gt=0, help="Learning rate of the first step", search=["log", 1e-3, 0.1]
    )
    min_lr: float = param(1e-4, ge=0, help="Learning rate that the schedule ends at")
    power: float = param(
        0.9, gt=0, help="Exponent of the polynomial from the first learning rate to the last"
    )
    head_lr: float = param(
        1.0, gt=0, help="Learning rate of the heads as a multiple of the backbone's"
    )
    momentum: float = param(0.9, ge=0, lt=1, help="Momentum of SGD")
    weight_decay: float = param(5e-4, ge=0, help="Weight decay of every parameter")
    output_stride: Literal[8, 16] = param(
        8, help="Pixels of the image per cell of the last feature map"
    )
    crop: Side = param((512, 1024), help="Height and width of a training crop, pixels")
    short: int = param(
        0,
        ge=0,
        help="Short side of images at test and before the random scale, pixels; 0 keeps it",
    )
    longest: int = param(
        2048, ge=32, help="Longest side that an image may have where `short` is used, pixels"
    )
    scale: tuple[float, float] = param(
        (0.5, 2.0), help="Range of the random scale, drawn uniformly"
    )
    max_share: float = param(
        0.75,
        gt=0,
        le=1,
        help="Largest share of a crop that one class may have; otherwise the crop is drawn again",
    )
    photometric: bool = param(
        True, help="Change brightness, contrast, saturation and hue at random"
    )
    width: int = param(512, ge=8, help="Channels of the head")
    dropout: float = param(
        0.1,
        ge=0,
        lt=1,
        help="Share of channels that are dropped before the classifier in training",
    )
    aux_weight: float = param(
        0.4, ge=0, help="Weight of the auxiliary loss on the third stage; 0 has no auxiliary head"
    )
    aux_width: int = param(256, ge=8, help="Channels of the auxiliary head")
    inference: Literal["whole", "slide"] = param(
        "whole", help="Test on the whole image at once, or on windows that slide over it"
    )
    window: Side = param((512, 1024), help="Height and width of a test window, pixels")
    stride: Side = param(
        (342, 683), help="Distance between windows, vertical and horizontal, pixels"
    )


class FcnParams(SegmentationParams):
    """A fully convolutional head."""

    convs: int = param(2, ge=1, help="Number of 3x3 convolutions of the head")
    concat: bool = param(
        True, help="Add a 3x3 convolution that sees their output beside their input"
    )


class PsaParams(SegmentationParams):
    """A point-wise spatial attention head."""

    mask: Side = param(
        (97, 97), help="Height and width of a position's over-completed map, odd numbers"
    )
    shrink: int = param(2, ge=1, help="Factor by which the feature map is reduced for attention")
    normalise: Literal["softmax", "count"] = param(
        "softmax",
        help="How attention is normalised: softmax over the sources, or division by their number",
    )


def poly(step: int, p: SegmentationParams) -> float:
    """(lr - min_lr) * (1 - step / iterations) ** power + min_lr."""
    return (p.lr - p.min_lr) * (1 - step / p.iterations) ** p.power + p.min_lr
