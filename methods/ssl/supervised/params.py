"""The settings of supervised pretraining."""

from __future__ import annotations

from typing import Literal

from bench.contracts.method import PretrainParams
from bench.core.params import param


class SupervisedParams(PretrainParams):
    """ImageNet's usual recipe (He et al. 2016), our choice for scenes: the papers only cite its
    weights."""

    epochs: int = param(90, ge=1, help="passes over the crop's samples", search=["int", 1, 800])
    batch_size: int = param(256, ge=2, help="images per optimiser step over all devices")
    optimizer: Literal["sgd", "lars", "adamw"] = param("sgd")
    lr: float = param(
        0.1,
        gt=0,
        help="learning rate of 256 images; scaled by batch_size/256",
        search=["log", 1e-3, 1.0],
    )
    warmup_epochs: float = param(0.0, ge=0, help="epochs of linear warm-up")
    classes: int = param(80, ge=1, help="classes of the pretraining set (COCO 80, scenes 20)")
    min_visible: float = param(
        0.5, gt=0, le=1, help="share of an object's box that a crop must hold to have its label"
    )
    min_scale: float = param(0.08, gt=0, le=1, help="least area of a view, fraction of its source")
