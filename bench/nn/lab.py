"""RGB -> CIE Lab on normalised tensors, and a backbone of two encoders:
one sees L, the other ab."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from bench.nn.contrastive import at_least_float32
from bench.views.augment import MEAN, STD

# sRGB primaries and the D65 white point (IEC 61966-2-1), as scikit-image and OpenCV use them.
XYZ = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
WHITE = (0.950456, 1.0, 1.088754)
# Half the range of the sRGB gamut in Lab; CMC's published code normalises by these.
LAB_MEAN = (50.0, (-86.183 + 98.233) / 2, (-107.857 + 94.478) / 2)
LAB_STD = (50.0, (86.183 + 98.233) / 2, (107.857 + 94.478) / 2)


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """(B, 3, H, W) sRGB in [0, 1] -> (B, 3, H, W) Lab, float32 at least: L in 0..100, a and b
    about -108..99.

    Source: CIE 1976 L*a*b* under D65; sRGB's transfer function. Values outside [0, 1] are clipped.
    """
    v = at_least_float32(rgb).clamp(0, 1)
    linear = torch.where(v > 0.04045, ((v + 0.055) / 1.055).pow(2.4), v / 12.92)
    r, g, b = linear.unbind(1)
    # Written out: autocast would run a matrix product in bf16.
    xyz = [(m[0] * r + m[1] * g + m[2] * b) / white for m, white in zip(XYZ, WHITE, strict=True)]
    x, y, z = (_root(part) for part in xyz)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


def _root(t: Tensor) -> Tensor:
    """The cube root, linear below (6/29)^3."""
    edge = (6 / 29) ** 3
    return torch.where(t > edge, t.clamp(min=edge).pow(1 / 3), t * (29 / 6) ** 2 / 3 + 4 / 29)


def to_normalised_lab(images: Tensor) -> Tensor:
    """(B, 3, H, W) RGB normalised by ImageNet's mean
    and deviation -> (B, 3, H, W) Lab, about [-1, 1]."""
    images = at_least_float32(images)
    mean, std = images.new_tensor(MEAN).view(3, 1, 1), images.new_tensor(STD).view(3, 1, 1)
    lab = rgb_to_lab(images * std + mean)
    return (lab - lab.new_tensor(LAB_MEAN).view(3, 1, 1)) / lab.new_tensor(LAB_STD).view(3, 1, 1)


class LabResNet(nn.Module):
    """Two half-width ResNets, `l` on the L channel and `ab` on the two colour channels (Tian et
    al. 2020).

    Takes RGB images normalised as for every other backbone and converts them itself, so that a
    task need not know. `forward`: (B, 3, H, W) -> (B, D), both pooled features, L first; `maps`:
    (B, D, h, w) likewise. D = `feature_dim`: 512 for ResNet-18 and -34, else 2048, as for one
    ResNet of full width. Tasks that read these two can use it; those that need the stages of one
    ResNet (a feature pyramid) cannot.
    """

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        layers: list[int],
        zero_init: bool = False,
        cifar: bool = False,
    ) -> None:
        super().__init__()
        from bench.nn.resnet import HalfResNet

        self.l = HalfResNet(block, layers, zero_init, cifar, channels=1)
        self.ab = HalfResNet(block, layers, zero_init, cifar, channels=2)
        self.feature_dim = self.l.feature_dim + self.ab.feature_dim

    def split(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) -> the pooled features of L and of ab, each (B, D/2)."""
        lab = to_normalised_lab(images)
        return self.l(lab[:, :1]), self.ab(lab[:, 1:])

    def maps(self, images: Tensor) -> Tensor:
        """Both last feature maps, concatenated over channels."""
        lab = to_normalised_lab(images)
        return torch.cat([self.l.maps(lab[:, :1]), self.ab.maps(lab[:, 1:])], 1)

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat(self.split(images), 1)
