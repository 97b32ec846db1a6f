"""ReSim's settings."""

from __future__ import annotations

from typing import Literal

from bench.core.params import param
from methods.ssl.moco_v2.params import MocoParams


class ResimParams(MocoParams):
    """Defaults: the published training script of ReSim-FPN (ImageNet, 200 epochs)."""

    epochs: int = param(
        200, ge=1, help="passes over the crop's samples (400 for the longer schedule)"
    )
    lr: float = param(
        0.03,
        gt=0,
        help="learning rate of 256 images; scaled by batch_size/256",
        search=["log", 1e-3, 1.0],
    )
    variant: Literal["fpn", "c4"] = param(
        "fpn",
        help="fpn: windows of 48 and 32 pixels on C4 and C3 of a feature pyramid; c4: of 48 "
        "pixels on a 3x3 convolution of C4 (our reading: the code of ReSim-C4 is not public)",
    )
    region_dim: int = param(256, ge=1, help="channels of the maps that windows are pooled from")
    lambda_region: float = param(1.0, ge=0, help="weight of each level's window loss")
    half_pixel: bool = param(
        False,
        help="map pixels lie at their centres when windows are pooled; the published PrRoIPool "
        "puts them at their corners",
    )
