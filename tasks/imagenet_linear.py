"""ImageNet linear probe of a frozen backbone at five depths, 28 epochs, best layer."""

from __future__ import annotations

from bench.core.params import param
from tasks._frozen.protocol import LinearParams
from tasks._frozen.task import LinearTask


class ImagenetLinearParams(LinearParams):
    """28 epochs; colour jitter and PCA lighting beside crop and flip."""

    jitter: float = param(
        0.4,
        ge=0,
        le=1,
        help="Strength of the jitter of brightness, contrast and saturation; 0 has none",
    )
    lighting: float = param(0.1, ge=0, help="Standard deviation of PCA lighting noise; 0 has none")


class ImagenetLinear(LinearTask):
    """ImageNet linear classification: paper 002 Table 1 (OpenSelfSup's protocol, Goyal et al.
    2019), the probes of `LinearTask`: 28 epochs, the rate falls by 10 after 8, 16 and 24; training
    crops also get colour jitter .4 and PCA lighting."""

    Params = ImagenetLinearParams
    params: ImagenetLinearParams
    data = {"tiny": "scenes_objects", "": "imagenet"}
