"""LEWEL's settings."""

from __future__ import annotations

from typing import Literal

from bench.contracts.method import RateMoves
from bench.core.params import param
from methods.ssl.byol.params import ByolParams


class LewelParams(ByolParams):
    """Defaults: the published script of LEWEL_B with EMAN, ImageNet, 200 epochs."""

    epochs: int = param(200, ge=1, help="passes over the crop's samples")
    batch_size: int = param(1024, ge=2, help="images per optimiser step over all devices")
    optimizer: Literal["sgd", "lars", "adamw"] = param("lars")
    lr: float = param(
        0.9,
        gt=0,
        help="learning rate of 256 images; scaled by batch_size/256 (3.6 at 1024)",
        search=["log", 1e-2, 3.0],
    )
    weight_decay: float = param(1.5e-6, ge=0)
    decay_norm_and_bias: bool = param(False, help="weight decay on batch norm and biases too")
    warmup_epochs: float = param(10.0, ge=0, help="epochs of linear warm-up")
    lr_step: RateMoves = param(
        "epoch_after_warmup",
        help="when the cosine moves; epoch_after_warmup: every epoch after the warm-up, from the "
        "whole rate (the code)",
    )
    ema0: float = param(
        0.98,
        ge=0,
        lt=1,
        help="target momentum at step 0 (.996: target_bn own, batch 4096)",
        search=[0.9, 0.99, 0.996, 0.999],
    )
    min_scale: float = param(0.2, gt=0, le=1, help="least area of a view, fraction of its source")
    align_heads: int = param(
        4, ge=1, help="groups of channels with maps of their own", search=[1, 2, 4, 8]
    )
    temperature: float = param(
        1.0,
        gt=0,
        help="divides the unit-length map values before the softmax",
        search=["log", 0.05, 2.0],
    )
    object_weight: float = param(0.5, ge=0, le=1, help="share of the loss on aligned features")
    mlp_init: Literal["fan_in", "fan_out"] = param(
        "fan_in",
        later=True,
        help="fan_out: projectors and predictors without biases, drawn by fan-out (the code); "
        "fan_in: as BYOL's here, at tiny and small",
    )
    target_bn: Literal["eman", "own"] = param(
        "eman",
        help="eman: the target's batch norm uses averaged statistics; own: those of its batch",
    )
