"""The settings of a fine-tuned classification; a task has its own defaults and scales of them."""

from __future__ import annotations

import math
from typing import Literal

from bench.contracts.task import TaskParams
from bench.core.params import param


class FinetuneParams(TaskParams):
    """What every protocol shares: the input and the optimiser. Subclasses say how long, and the
    schedule."""

    batch_size: int = param(256, ge=2, help="Images of a step")
    lr: float = param(0.01, gt=0, help="Learning rate of the backbone", search=["log", 1e-4, 0.1])
    head_lr: float = param(
        1.0, gt=0, help="Learning rate of the classifier as a multiple of the backbone's"
    )
    momentum: float = param(0.9, ge=0, lt=1, help="Momentum of SGD")
    nesterov: bool = param(False, help="Use Nesterov's form of momentum")
    weight_decay: float = param(
        1e-4, ge=0, help="Weight decay of every parameter", search=["log", 1e-6, 1e-3]
    )
    image_size: int = param(
        224, ge=16, help="Side of training crops and of the central crop at test, pixels"
    )
    resize: int = param(
        256, ge=16, help="Short side that test images have before the central crop, pixels"
    )
    min_scale: float = param(
        0.08, gt=0, le=1, help="Smallest area of a training crop, as a share of the image"
    )
    precision: Literal["fp32", "bf16"] = param("fp32", help="Precision of the forward passes")

    def total_steps(self, n: int) -> int:
        """Optimiser steps on `n` training images."""
        raise NotImplementedError

    def rate(self, step: int, n: int) -> float:
        """The backbone's learning rate at a step, counted from 0."""
        raise NotImplementedError


class TransferParams(FinetuneParams):
    """Fine-tuning on a small set: the form of SimCLR's protocol (Chen et al. 2020, appendix B.8),
    after Kornblith et al. 2019: 20,000 steps of 256 images, Nesterov momentum, cosine to 0. There
    rate and decay are chosen per set on a grid over the ranges that `search` has; the defaults
    here are ours."""

    steps: int = param(20_000, ge=1, help="Steps of the optimiser")
    nesterov: bool = param(True, help="Use Nesterov's form of momentum")

    def total_steps(self, n: int) -> int:
        return self.steps

    def rate(self, step: int, n: int) -> float:
        """lr (1 + cos(pi step / steps)) / 2."""
        return self.lr * (1 + math.cos(math.pi * step / self.steps)) / 2


class SemiParams(FinetuneParams):
    """Fine-tuning on a share of the labels: paper 002, appendix ("Semi-supervised learning"). One
    device holds the whole batch, so that plain batch norm is the synchronised one of the published
    code."""

    epochs: int = param(20, ge=1, help="How often every labelled image is seen")
    drops: tuple[int, ...] = param(
        (12, 16), help="Epochs after which the learning rate falls, for example 12,16"
    )
    gamma: float = param(
        0.2,
        gt=0,
        le=1,
        help="Factor that the learning rate is multiplied with after each of `drops`",
    )
    head_lr: float = param(
        100.0, gt=0, help="Learning rate of the classifier as a multiple of the backbone's"
    )
    fraction: float = param(
        0.01,
        gt=0,
        le=1,
        help="Share of the training images whose labels are used, for example 0.1",
    )
    subset: str | None = param(
        None,
        place=True,
        help="File with the names of these images, a line each; without a file they are drawn",
    )
    subset_seed: int = param(
        0, ge=0, help="Seed of the draw; cells of every seed use the same images"
    )

    def total_steps(self, n: int) -> int:
        return self.epochs * self.epoch_steps(n)

    def epoch_steps(self, n: int) -> int:
        """Steps of an epoch, the last one filled up."""
        return math.ceil(n / self.batch_size)

    def rate(self, step: int, n: int) -> float:
        """lr gamma^(number of `drops` that are over); it falls between epochs."""
        epoch = step // self.epoch_steps(n)
        return self.lr * self.gamma ** sum(epoch >= drop for drop in self.drops)
