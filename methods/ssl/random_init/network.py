"""An untrained backbone as a network."""

from __future__ import annotations

from torch import Tensor

from bench.contracts.network import Network
from bench.nn.backbones import build_backbone


class Untrained(Network):
    def __init__(self, backbone: str) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone)

    def embed(self, images: Tensor) -> Tensor:
        """Pooled features."""
        return self.backbone(images)  # type: ignore[no-any-return]
