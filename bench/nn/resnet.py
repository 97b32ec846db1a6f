"""torchvision's ResNets without the classifier,
under torchvision's own key names, and of half and of quarter width."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from bench.contracts.method import BackboneInit
from bench.core.errors import BadInput

RESNETS: dict[str, tuple[type[BasicBlock | Bottleneck], list[int]]] = {
    "resnet10": (BasicBlock, [1, 1, 1, 1]),
    "resnet18": (BasicBlock, [2, 2, 2, 2]),
    "resnet34": (BasicBlock, [3, 4, 6, 3]),
    "resnet50": (Bottleneck, [3, 4, 6, 3]),
    "resnet101": (Bottleneck, [3, 4, 23, 3]),
}


def refuse_one_pixel(layer: nn.Module, inputs: tuple[Tensor]) -> None:
    """BadInput where PyTorch's gradient would be wrong: in bf16 on the CPU that of a strided
    convolution of one pixel reads memory that nothing wrote (seen in PyTorch 2.15, every other
    time or so)."""
    (x,) = inputs
    half = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    learns = layer.training and torch.is_grad_enabled()
    if half and learns and x.shape[-2:] == (1, 1) and x.device.type == "cpu":
        raise BadInput(
            "bf16 on the CPU needs views of more than 16 pixels: PyTorch's gradients are wrong "
            "for smaller ones; try: --set method.precision=fp32, or a larger image_size"
        )


M = TypeVar("M", bound=nn.Module)


def initialise(network: M, init: BackboneInit) -> M:
    """`network`, made of torchvision's residual blocks, with the weights that `init` asks for.

    torchvision: as it is; convolutions N(0, 2 / fan-out), batch norms 1 and 0. fan_in:
    convolutions drawn again from N(0, 2 / fan-in), as OpenSelfSup draws them (a 1 x 1 convolution
    of 64 to 256 channels has a deviation of .177 instead of .088). zero_residual: the last batch
    norm of every block starts at 0, so that a block passes its input on (Goyal et al. 2017,
    section 5.1), as in the code of SimSiam and SoCo.
    """
    for module in network.modules():
        if init == "fan_in" and isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
        if init == "zero_residual" and isinstance(module, BasicBlock | Bottleneck):
            last = module.bn3 if isinstance(module, Bottleneck) else module.bn2
            nn.init.zeros_(last.weight)
    return network


class ResNetBackbone(ResNet):
    """A ResNet up to global average pooling
    (He et al. 2016, as torchvision builds and initialises it).

    `forward`: (B, 3, H, W) -> (B, D), pooled. `maps`: (B, 3, H, W) -> C5 (B, D, ceil(H/32),
    ceil(W/32)). D = `feature_dim`: 512 for ResNet-10, -18 and -34, else 2048. The state dict is
    torchvision's less `fc.*`.
    zero_init: the last batch norm of each block starts at zero (Goyal et al. 2017, section 5.1).
    cifar: the stem is a 3x3 convolution of stride 1 without max-pool (He et al. 2016, section
    4.2), so C5 has stride 8. channels: of the input.
    """

    narrower = 1  # divides the width of the four stages
    stem = 64  # channels of the first convolution

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        layers: list[int],
        zero_init: bool = False,
        cifar: bool = False,
        channels: int = 3,
    ) -> None:
        # with fc, whose draws keep a seed's weights equal to torchvision's
        super().__init__(block, layers, zero_init_residual=zero_init)
        self.feature_dim = 512 * block.expansion // self.narrower
        del self.fc
        if cifar or channels != 3 or self.stem != 64:
            kernel, stride, padding = (3, 1, 1) if cifar else (7, 2, 3)
            self.conv1 = nn.Conv2d(channels, self.stem, kernel, stride, padding, bias=False)
            nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        if self.stem != 64:
            self.bn1 = nn.BatchNorm2d(self.stem)
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
    """A ResNet whose four stages have half as many channels (D = 256 or 1024); the stem keeps its
    64, as in CMC's published code, so that layer1 of ResNet-18 and -34 starts with a projection
    (`downsample`) that the full width lacks. torchvision's `width_per_group` would not narrow a
    bottleneck's output."""

    narrower = 2

    def _make_layer(
        self,
        block: type[BasicBlock | Bottleneck],
        planes: int,
        blocks: int,
        stride: int = 1,
        dilate: bool = False,
    ) -> nn.Sequential:
        if planes == 64:  # the first stage, which sees the stem
            self.inplanes = self.stem
        return super()._make_layer(block, planes // self.narrower, blocks, stride, dilate)


class QuarterResNet(HalfResNet):
    """A ResNet whose stem and four stages have a quarter of the channels (a stem of 16; D = 128 or
    512): in a step of pretraining at 48 pixels it takes a third of `HalfResNet`'s time on a CPU,
    where the wide stem is what costs most."""

    narrower = 4
    stem = 16
