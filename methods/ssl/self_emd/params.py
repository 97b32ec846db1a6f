"""Self-EMD's settings."""

from __future__ import annotations

from bench.core.params import param
from methods.ssl.byol.params import ByolParams


class SelfEmdParams(ByolParams):
    """BYOL's settings on COCO (papers 002 and 003 list Self-EMD with 800 epochs), and the
    transport's."""

    eps: float = param(
        0.05, gt=0, help="entropic regularisation, in units of 1 - cos", search=["log", 5e-3, 0.5]
    )
    sinkhorn: int = param(50, ge=1, help="rounds of Sinkhorn's algorithm")
