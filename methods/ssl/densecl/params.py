"""DenseCL's settings."""

from __future__ import annotations

from typing import Literal

from bench.core.params import param
from methods.ssl.moco_v2.params import MocoParams


class DenseclParams(MocoParams):
    """DenseCL's settings; those it shares with MoCo v2 have the same defaults."""

    lambda_dense: float = param(
        0.5, ge=0, le=1, help="weight of the dense loss; 1 less it, of the global one"
    )
    lambda_warmup_iters: int = param(
        0, ge=0, help="steps at the start in which the dense loss's weight is 0"
    )
    match_on: Literal["backbone", "projection"] = param(
        "backbone", help="features whose cells are matched: C5 or the dense projections"
    )
    neg: Literal["pooled", "cells"] = param(
        "pooled",
        help="the dense queue holds one pooled dense key per image, or the key of every cell",
    )
