"""iNaturalist 2018 linear probe of a frozen backbone at five depths, 84 epochs, best layer."""

from __future__ import annotations

from bench.core.params import param
from tasks._frozen.protocol import LinearParams
from tasks._frozen.task import LinearTask


class Inat18LinearParams(LinearParams):
    """84 epochs."""

    epochs: int = param(84, ge=1, help="How often every training image is seen")
    steps: tuple[int, ...] = param(
        (24, 48, 72),
        help="Epochs after which the learning rate is divided by 10, for example 60,80",
    )


class Inat18Linear(LinearTask):
    """iNaturalist 2018 linear classification: paper 002 Table 1 (OpenSelfSup's protocol, Goyal et
    al. 2019), the probes of `LinearTask`: 84 epochs, the rate falls by 10 after 24, 48 and 72."""

    Params = Inat18LinearParams
    params: Inat18LinearParams
    data = {"tiny": "scenes_objects", "": "inat18"}
