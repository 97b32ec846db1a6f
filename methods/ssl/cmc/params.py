"""CMC's settings."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from bench.contracts.method import PretrainParams
from bench.core.errors import BadInput
from bench.core.params import param
from bench.nn.architectures import architecture


class CmcParams(PretrainParams):
    """CMC's published code, with 200 epochs as paper 001 trains it (appendix G.1)."""

    backbone: str = param(
        "lab_resnet50", help="lab_resnet18 | lab_resnet34 | lab_resnet50 | lab_resnet101"
    )
    epochs: int = param(200, ge=1, help="passes over the crop's samples", search=["int", 1, 800])
    batch_size: int = param(128, ge=2, help="images per optimiser step over all devices")
    lr: float = param(
        0.06,
        gt=0,
        help="learning rate of 256 images; scaled by batch_size/256 (.03 for 128)",
        search=["log", 1e-3, 1.0],
    )
    warmup_epochs: float = param(0.0, ge=0, help="epochs of linear warm-up")
    dim: int = param(128, ge=1, help="width of both embeddings")
    negatives: int = param(
        16384, ge=1, help="K, negatives of a sample; at most half of the images"
    )
    tau: float = param(0.07, gt=0, help="temperature", search=["log", 0.03, 0.5])
    bank_momentum: float = param(
        0.5, ge=0, lt=1, help="share of the old row in a memory bank's update"
    )
    partition: Literal["first_batch", "average", "softmax"] = param(
        "first_batch",
        help="the NCE constant Z: estimated once (the code), as a moving average of momentum "
        ".99, or none: softmax over positive and negatives, for small sets, where Z explodes",
    )
    min_scale: float = param(
        0.08,
        gt=0,
        le=1,
        help="least area of a view, fraction of the image (.08: the code for ResNets; .2: for "
        "AlexNet)",
    )

    @field_validator("backbone")
    @classmethod
    def _is_split(cls, name: str) -> str:
        try:
            fits = architecture(name).family == "lab"
        except BadInput:
            fits = False
        if not fits:
            raise ValueError(
                "CMC needs two encoders, one for L and one for ab: lab_resnet18, lab_resnet50"
            )
        return name
