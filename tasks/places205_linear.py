"""Places205 linear probe of a frozen backbone at five depths, 14 epochs, best layer."""

from __future__ import annotations

from bench.core.params import param
from tasks._frozen.protocol import LinearParams
from tasks._frozen.task import LinearTask


class Places205LinearParams(LinearParams):
    """14 epochs."""

    epochs: int = param(14, ge=1, help="How often every training image is seen")
    steps: tuple[int, ...] = param(
        (4, 8, 12), help="Epochs after which the learning rate is divided by 10, for example 60,80"
    )


class Places205Linear(LinearTask):
    """Places205 linear classification: paper 002 Table 1 (OpenSelfSup's protocol, Goyal et al.
    2019), the probes of `LinearTask`: 14 epochs, the rate falls by 10 after 4, 8 and 12."""

    Params = Places205LinearParams
    params: Places205LinearParams
    data = {"tiny": "scenes_objects", "": "places205"}
