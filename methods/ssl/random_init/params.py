"""The settings of an untrained backbone."""

from __future__ import annotations

from bench.core.params import Params, param


class RandomInitParams(Params):
    """What an untrained backbone depends on: its architecture (and the stage's seed)."""

    backbone: str = param("resnet50", help="the backbone; bench.nn.architectures has all names")
    image_size: int = param(224, ge=16, help="side of an embedded image, pixels")
