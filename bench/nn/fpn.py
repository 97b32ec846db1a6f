"""A feature pyramid on a ResNet, and RoI features from the level that suits a box's size."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from bench.nn.backbones import ResNetBackbone

STRIDES = (4, 8, 16, 32)  # of C2..C5 and P2..P5
LEVEL_SIDES = (48, 96, 192)  # largest sqrt(area) of P2, P3, P4 in a 224-pixel image (SoCo's rule)


def stage_maps(backbone: ResNetBackbone, images: Tensor) -> OrderedDict[str, Tensor]:
    """(B, 3, H, W) -> "c2".."c5": (B, D/8, H/4, W/4) .. (B, D, H/32, W/32), sides rounded up."""
    x = backbone.maxpool(backbone.relu(backbone.bn1(backbone.conv1(images))))
    found = OrderedDict()
    for number in (1, 2, 3, 4):
        x = getattr(backbone, f"layer{number}")(x)
        found[f"c{number + 1}"] = x
    return found


def build_fpn(backbone: ResNetBackbone, width: int = 256) -> nn.Module:
    """torchvision's FPN with batch norm on C2..C5 (Lin et al. 2017): a dict of maps in, P2..P5 out, under the
    names of the maps, `width` channels each."""
    from torchvision.ops import FeaturePyramidNetwork

    widths = [backbone.feature_dim // n for n in (8, 4, 2, 1)]
    return FeaturePyramidNetwork(widths, width, norm_layer=nn.BatchNorm2d)


def level_of(boxes: Tensor, image_size: int) -> Tensor:
    """(n, 4) xyxy in a view of side `image_size` -> (n,) int64, 0 (P2) to 3 (P5).

    P2 up to sqrt(area) = 48, P3 up to 96, P4 up to 192, else P5, in a view of 224; thresholds scale with
    image_size/224. Source: SoCo (Wei et al. 2021), whose rule paper 003's code uses.
    """
    width, height = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).unbind(1)
    limits = boxes.new_tensor(LEVEL_SIDES) * (image_size / 224)
    return torch.bucketize((width * height).sqrt(), limits)


def pool_rois(maps: list[Tensor], boxes: Tensor, image: Tensor, image_size: int, side: int = 7) -> Tensor:
    """RoIAlign of each box on its own level: (n, C, side, side).

    maps: P2..P5, (B, C, ., .). boxes: (n, 4) xyxy, pixels of the view; image: (n,) row of the batch. Pixel
    centres are aligned and samples per bin follow the RoI's size (He et al. 2017; detectron2's ROIAlignV2).
    """
    from torchvision.ops import roi_align

    rois = torch.cat([image.to(boxes.dtype)[:, None], boxes], 1)
    level = level_of(boxes, image_size)
    found, rows = [], []
    for number, (features, stride) in enumerate(zip(maps, STRIDES, strict=True)):
        at = (level == number).nonzero().flatten()
        found.append(roi_align(features, rois[at], side, 1 / stride, sampling_ratio=0, aligned=True))
        rows.append(at)
    return torch.cat(found)[torch.cat(rows).argsort()]
