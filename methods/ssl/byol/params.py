"""BYOL's settings."""

from __future__ import annotations

from bench.contracts.method import PretrainParams
from bench.core.params import param


class ByolParams(PretrainParams):
    """BYOL's settings; the defaults are paper 002's on COCO (section 3.2 and its code's
    configuration)."""

    ema0: float = param(
        0.99,
        ge=0,
        lt=1,
        help="target momentum at step 0 (.996: ImageNet)",
        search=[0.9, 0.99, 0.996, 0.999],
    )
    hidden: int = param(4096, ge=1, help="hidden width of projector and predictor")
    out: int = param(256, ge=1, help="output width of projector and predictor")
    min_scale: float = param(0.08, gt=0, le=1, help="least area of a view, fraction of its source")
