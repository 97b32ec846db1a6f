"""Backbones: torchvision's ResNets without the classifier, under torchvision's own key names, and the others.

A backbone has `feature_dim`, `forward(images)` -> (B, feature_dim), pooled, and `maps(images)` -> (B,
feature_dim, h, w), its last feature map. `bench.nn.architectures` says what the names mean.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from bench.errors import BadData, BadInput
from bench.nn.architectures import architecture
from bench.nn.formats import check_fit

if TYPE_CHECKING:
    from bench.nn.lab import LabResNet
    from bench.nn.vit import VisionTransformer

RESNETS: dict[str, tuple[type[BasicBlock | Bottleneck], list[int]]] = {
    "resnet18": (BasicBlock, [2, 2, 2, 2]),
    "resnet34": (BasicBlock, [3, 4, 6, 3]),
    "resnet50": (Bottleneck, [3, 4, 6, 3]),
    "resnet101": (Bottleneck, [3, 4, 23, 3]),
}


def refuse_one_pixel(layer: nn.Module, given: tuple[Tensor]) -> None:
    """BadInput where PyTorch's gradient would be wrong: in bf16 on the CPU that of a strided convolution of
    one pixel reads memory that nothing wrote (seen in PyTorch 2.15, every other time or so)."""
    (x,) = given
    half = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    learns = layer.training and torch.is_grad_enabled()
    if half and learns and x.shape[-2:] == (1, 1) and x.device.type == "cpu":
        raise BadInput(
            "bf16 on the CPU needs views of more than 16 pixels: PyTorch's gradients are wrong for smaller "
            "ones; try: --set method.precision=fp32, or a larger image_size"
        )


class ResNetBackbone(ResNet):
    """A ResNet up to global average pooling (He et al. 2016, as torchvision builds and initialises it).

    `forward`: (B, 3, H, W) -> (B, D), pooled. `maps`: (B, 3, H, W) -> C5 (B, D, ceil(H/32), ceil(W/32)).
    D = `feature_dim`: 512 for ResNet-18 and -34, else 2048. The state dict is torchvision's less `fc.*`.
    zero_init: the last batch norm of each block starts at zero (Goyal et al. 2017, section 5.1).
    cifar: the stem is a 3x3 convolution of stride 1 without max-pool (He et al. 2016, section 4.2), so C5 has
    stride 8. channels: of the input.
    """

    narrower = 1  # divides the width of the four stages

    def __init__(
        self, block: type[BasicBlock | Bottleneck], layers: list[int], zero_init: bool = False,
        cifar: bool = False, channels: int = 3,
    ) -> None:  # fmt: skip
        # with fc, whose draws keep a seed's weights equal to torchvision's
        super().__init__(block, layers, zero_init_residual=zero_init)
        self.feature_dim = 512 * block.expansion // self.narrower
        del self.fc
        if cifar or channels != 3:
            kernel, stride, padding = (3, 1, 1) if cifar else (7, 2, 3)
            self.conv1 = nn.Conv2d(channels, 64, kernel, stride, padding, bias=False)
            nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        if cifar:
            self.maxpool = nn.Identity()
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d) and layer.stride[0] > 1 and layer.kernel_size[0] > 1:
                layer.register_forward_pre_hook(refuse_one_pixel)

    def maps(self, images: Tensor) -> Tensor:
        """C5, the last stage's feature map."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))  # type: ignore[no-any-return]

    def forward(self, images: Tensor) -> Tensor:
        return torch.flatten(self.avgpool(self.maps(images)), 1)


class HalfResNet(ResNetBackbone):
    """A ResNet whose four stages have half as many channels (D = 256 or 1024); the stem keeps its 64, as in
    CMC's published code, so that layer1 of ResNet-18 and -34 starts with a projection (`downsample`) that
    the full width lacks. torchvision's `width_per_group` would not narrow a bottleneck's output."""

    narrower = 2

    def _make_layer(
        self, block: type[BasicBlock | Bottleneck], planes: int, blocks: int, stride: int = 1,
        dilate: bool = False,
    ) -> nn.Sequential:  # fmt: skip
        return super()._make_layer(block, planes // 2, blocks, stride, dilate)


def build_backbone(name: str) -> ResNetBackbone | LabResNet | VisionTransformer:
    """A freshly initialised backbone (the caller has seeded torch); unknown names raise BadInput."""
    found = architecture(name)
    if found.family == "vit":
        from bench.nn.vit import VisionTransformer  # timm takes seconds to import

        return VisionTransformer(found.base)
    block, layers = RESNETS[found.base]
    zero_init, cifar = "zeroinit" in found.options, "cifar" in found.options
    if found.family == "lab":
        from bench.nn.lab import LabResNet

        return LabResNet(block, layers, zero_init, cifar)
    make = HalfResNet if "half" in found.options else ResNetBackbone
    return make(block, layers, zero_init, cifar)


def save_backbone(path: Path, backbone: nn.Module) -> None:
    """Write the backbone's state dict: plain torchvision keys, contiguous tensors on the CPU."""
    state = {k: v.detach().cpu().contiguous() for k, v in backbone.state_dict().items()}
    torch.save(state, path)


def load_backbone(path: Path, backbone: nn.Module) -> int:
    """Load `path` (torchvision keys; `fc.*` is ignored) into `backbone`; returns how many tensors matched.

    Raises BadData for an unreadable file, BadInput if any key is missing, unexpected or of another shape:
    a backbone that is only partly loaded gives wrong results without an error.
    """
    state = read_backbone(path)
    load_strictly(backbone, state, str(path))
    return len(state)


def read_backbone(path: Path) -> dict[str, Tensor]:
    """The state dict in `path` less `fc.*`; BadData for an unreadable file."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise BadData(f"no backbone at {path}; pretrain it first: bench run") from None
    except Exception as error:
        raise BadData(
            f"{path} is no readable PyTorch weights file ({type(error).__name__}); make it again"
        ) from None
    if not isinstance(found, dict):
        raise BadData(f"{path} holds a {type(found).__name__}, not a state dict; make it again")
    return {k: v for k, v in found.items() if not k.startswith("fc.")}


def load_strictly(module: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """`module.load_state_dict(state)`, all or nothing; BadInput names the first differences."""
    check_fit(module.state_dict(), state, source)
    module.load_state_dict(state, strict=True)
