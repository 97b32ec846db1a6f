"""The four maps of a backbone that a feature pyramid is built on."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models._utils import IntermediateLayerGetter

from bench.nn.architectures import architecture
from bench.nn.backbones import build_backbone
from bench.nn.timm_net import TimmBackbone


class TimmBody(TimmBackbone):
    """A network of timm's whose forward returns its maps of strides 4 to 32, by their numbers."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        return {str(i): features for i, features in enumerate(self.pyramid(images))}


def build_body(backbone: str) -> tuple[nn.Module, list[int]]:
    """(images -> the maps of the four stages, "0" to "3"; their channels). The state dict is that
    of the backbone."""
    if architecture(backbone).family == "timm":
        body = TimmBody(backbone)
        return body, list(body.shape.widths[-4:])
    resnet = build_backbone(backbone)
    layers = {f"layer{i + 1}": str(i) for i in range(4)}
    widths = [resnet.feature_dim // 8 * 2**i for i in range(4)]
    return IntermediateLayerGetter(resnet, layers), widths
