"""SimSiam's settings."""

from __future__ import annotations

from typing import Literal

from bench.contracts.method import PretrainParams
from bench.core.params import param


class SimsiamParams(PretrainParams):
    """SimSiam's settings; the defaults are its own on ImageNet (section 4: 100 epochs of batches
    of 512)."""

    epochs: int = param(100, ge=1, help="passes over the crop's samples", search=["int", 1, 800])
    lr: float = param(
        0.05,
        gt=0,
        help="learning rate of 256 images; scaled by batch_size/256",
        search=["log", 1e-3, 1.0],
    )
    warmup_epochs: float = param(0.0, ge=0, help="epochs of linear warm-up")
    predictor_lr: Literal["fixed", "decayed"] = param(
        "fixed", help="fixed: the predictor keeps the base rate; decayed: it follows the schedule"
    )
    hidden: int = param(2048, ge=1, help="hidden width of the projector")
    out: int = param(2048, ge=1, help="output width of projector and predictor")
    bottleneck: int = param(512, ge=1, help="hidden width of the predictor")
    min_scale: float = param(0.2, gt=0, le=1, help="least area of a view, fraction of its source")
