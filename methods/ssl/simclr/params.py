"""SimCLR's settings."""

from __future__ import annotations

from typing import Literal

from bench.contracts.method import PretrainParams
from bench.core.params import param


class SimclrParams(PretrainParams):
    """SimCLR's settings; the defaults are paper 002's on COCO (appendix A and its code's
    configuration)."""

    optimizer: Literal["sgd", "lars", "adamw"] = param("lars")
    lr: float = param(
        0.3,
        gt=0,
        help="learning rate of 256 images; scaled by batch_size/256",
        search=["log", 1e-2, 3.0],
    )
    weight_decay: float = param(1e-6, ge=0)
    decay_norm_and_bias: bool = param(False, help="weight decay on batch norm and biases too")
    warmup_epochs: float = param(10.0, ge=0, help="epochs of linear warm-up")
    temperature: float = param(
        0.1, gt=0, help="temperature of the softmax", search=["log", 0.05, 1.0]
    )
    hidden: int = param(2048, ge=1, help="hidden width of the projector")
    out: int = param(128, ge=1, help="output width of the projector")
    min_scale: float = param(0.08, gt=0, le=1, help="least area of a view, fraction of its source")
