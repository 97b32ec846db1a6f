"""No pretraining: the backbone as it is initialised, the floor of every table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from bench.contracts.method import Method
from bench.contracts.network import Network
from bench.contracts.views import Sample, Source, Viewer, ViewSpec
from bench.core.params import Params, param
from bench.views.sample import BYOL_1

if TYPE_CHECKING:
    from bench.contracts.images import ImageSet


class RandomInitParams(Params):
    """What an untrained backbone depends on: its architecture (and the stage's seed)."""

    backbone: str = param("resnet50", help="any of bench.nn.architectures")
    image_size: int = param(224, ge=16, help="side of an embedded image, pixels")


class _Untrained(Network):
    def __init__(self, backbone: str) -> None:
        super().__init__()
        # torchvision takes a second; plans need none
        from bench.nn.backbones import build_backbone

        self.backbone = build_backbone(backbone)

    def embed(self, images: Tensor) -> Tensor:
        """Pooled features."""
        return self.backbone(images)  # type: ignore[no-any-return]


class _OneView:
    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, sources: list[Source], rng: np.random.Generator) -> Sample:
        source = sources[0]
        return Sample([ViewSpec("view1", source.image, source.box, self.size, BYOL_1)])


class RandomInit(Method):
    """A backbone with torchvision's initialisation (He et al. 2015), drawn from the seed and never
    trained.

    The "random init." row of papers 000-003. COCO box AP, Mask R-CNN R50-FPN 1x: 32.8 (papers 001
    and 002, Table 4), 31.0 (paper 003, Table 1). `bench.stages.pretrain.setup` takes no step.
    """

    Params = RandomInitParams
    params: RandomInitParams  # type: ignore[assignment]
    trains = False
    scales = {
        "tiny": {"backbone": "resnet18", "image_size": 64},
        "small": {"backbone": "resnet18", "image_size": 128},
    }

    def viewer(self, images: ImageSet, inputs: dict[str, Path]) -> Viewer:
        return _OneView(self.params.image_size)

    def network(self, n_images: int, heads: int = 1) -> Network:
        return _Untrained(self.params.backbone)
