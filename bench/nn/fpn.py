"""A feature pyramid on a ResNet, and RoI features from the level that suits a box's size."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bench.nn.contrastive import at_least_float32
from bench.nn.resnet import ResNetBackbone

# the four stages; their strides are 4 to 32 (1 to 8 with CIFAR's stem)
LEVELS = ("c2", "c3", "c4", "c5")
# largest sqrt(area) of P2, P3, P4 in a 224-pixel image (SoCo's rule)
LEVEL_SIDES = (48.0, 96.0, 192.0)


def stage_maps(backbone: ResNetBackbone, images: Tensor) -> OrderedDict[str, Tensor]:
    """(B, 3, H, W) -> "c2".."c5": (B, D/8, H/4, W/4) .. (B, D, H/32, W/32), sides rounded up."""
    x = backbone.maxpool(backbone.relu(backbone.bn1(backbone.conv1(images))))
    maps = OrderedDict()
    for number in (1, 2, 3, 4):
        x = getattr(backbone, f"layer{number}")(x)
        maps[f"c{number + 1}"] = x
    return maps


def build_fpn(
    feature_dim: int, width: int = 256, levels: Sequence[str] = LEVELS, norm: bool = True
) -> nn.Module:
    """torchvision's FPN (Lin et al. 2017) on the stages `levels`, which end with "c5": a dict of
    maps in, the pyramid's maps out under the same names, `width` channels each. `feature_dim`:
    channels of C5; `norm`: batch norm after each convolution, which then has no bias."""
    from torchvision.ops import FeaturePyramidNetwork

    widths = [feature_dim >> (3 - LEVELS.index(level)) for level in levels]
    return FeaturePyramidNetwork(widths, width, norm_layer=nn.BatchNorm2d if norm else None)


def stride_of(features: Tensor, image_size: int) -> int:
    """View pixels from one pixel of a map to the next: the power of two nearest to `image_size`
    over the map's side, which is rounded up."""
    return int(2 ** round(math.log2(image_size / features.shape[-1])))


def level_of(boxes: Tensor, image_size: int, sides: Sequence[float] = LEVEL_SIDES) -> Tensor:
    """(..., 4) xyxy in a view of side `image_size` -> (...) int64, 0 (P2) to 3 (P5).

    P2 up to sqrt(area) = 48, P3 up to 96, P4 up to 192, else P5, in a view of 224; thresholds
    scale with image_size/224. Source: SoCo (Wei et al. 2021), whose rule paper 003's code uses.
    """
    width, height = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).unbind(-1)
    return torch.bucketize((width * height).sqrt(), boxes.new_tensor(sides) * (image_size / 224))


def pool_rois(
    maps: Sequence[Tensor],
    boxes: Tensor,
    image: Tensor,
    levels: Tensor,
    image_size: int,
    side: int = 7,
) -> Tensor:
    """RoIAlign of each box on its own level: (n, C, side, side).

    maps: P2..P5, (B, C, ., .). boxes: (n, 4) xyxy, pixels of the view of `image_size`; image: (n,)
    row of the batch; levels: (n,) as from `level_of`. Pixel centres are aligned and samples per
    bin follow the RoI's size (He et al. 2017; detectron2's ROIAlignV2). A level without a box
    still takes part in the graph.
    """
    from torchvision.ops import roi_align

    rois = at_least_float32(torch.cat([image.to(boxes.dtype)[:, None], boxes], 1))
    first, pooled, rows = stride_of(maps[0], image_size), [], []
    for number, features in enumerate(maps):
        scale = 1 / (first << number)  # the smallest maps' sides are rounded up too far to tell
        at = (levels == number).nonzero().flatten()
        values = at_least_float32(features)
        pooled.append(
            roi_align(values, rois[at].to(values), side, scale, sampling_ratio=0, aligned=True)
        )
        rows.append(at)
    return torch.cat(pooled)[torch.cat(rows).argsort()]
