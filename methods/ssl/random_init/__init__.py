"""No pretraining: the backbone as it is initialised, the floor of every table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.contracts.method import Method
from bench.contracts.views import Viewer
from methods.ssl.random_init.params import RandomInitParams
from methods.ssl.random_init.views import OneView

if TYPE_CHECKING:
    from bench.contracts.images import ImageSet
    from bench.contracts.network import Network


class RandomInit(Method):
    """A backbone with torchvision's initialisation (He et al. 2015), drawn from the seed and never
    trained.

    The "random init." row of papers 000-003. COCO box AP, Mask R-CNN R50-FPN 1x: 32.8 (papers 001
    and 002, Table 4), 31.0 (paper 003, Table 1). `bench.stages.pretrain.setup` takes no step.
    """

    Params = RandomInitParams  # type: ignore[assignment]  # nothing is trained
    params: RandomInitParams  # type: ignore[assignment]
    trains = False
    scales = {
        "tiny": {"backbone": "resnet10_quarter", "image_size": 48},
        "small": {"backbone": "resnet18", "image_size": 128},
    }

    def viewer(self, images: ImageSet, inputs: dict[str, Path]) -> Viewer:
        return OneView(self.params.image_size)

    def network(self, n_images: int, heads: int = 1) -> Network:
        from methods.ssl.random_init.network import Untrained

        return Untrained(self.params.backbone)
