"""The five depths of a frozen backbone, pooled to about nine thousand numbers each, for probes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.nn.architectures import DEPTHS

if TYPE_CHECKING:
    from bench.nn.timm_net import TimmBackbone
    from bench.nn.vit import VisionTransformer

GAP = "gap"
GRIDS = {"conv1": 12, "res2": 6, "res3": 4, "res4": 3, "res5": 2}
# side of the map of a 224-pixel image -> kernel, stride, padding of the published average pooling
POOLS = {
    "conv1": (112, (10, 10, 4)),
    "res2": (56, (16, 8, 0)),
    "res3": (28, (13, 5, 0)),
    "res4": (14, (8, 3, 0)),
    "res5": (7, (6, 1, 0)),
}
MOST = 9216  # numbers of a pooled layer of ResNet-50


def pool_map(name: str, features: Tensor) -> Tensor:
    """The map (B, C, h, w) of a ResNet's depth -> (B, C g g), g = 12, 6,
    4, 3, 2 from conv1 to res5.

    At the sizes of a 224-pixel image this is the average pooling of the published linear and SVM
    protocols (kernel, stride, padding): conv1 (10, 10, 4), res2 (16, 8, 0), res3 (13, 5, 0), res4
    (8, 3, 0), res5 (6, 1, 0): 9216, 9216, 8192, 9216 and 8192 numbers of ResNet-50. Source: Goyal
    et al. 2019 and paper 002's code. Other sizes have no published rule: adaptive average pooling
    to the same grid, at most the map's.
    """
    side, (kernel, stride, padding) = POOLS[name]
    if features.shape[-2:] == (side, side):
        return F.avg_pool2d(features, kernel, stride, padding).flatten(1)
    return _grid(features, GRIDS[name])


def _grid(features: Tensor, side: int) -> Tensor:
    sides = (min(side, features.shape[-2]), min(side, features.shape[-1]))
    return F.adaptive_avg_pool2d(features, sides).flatten(1)


def layer_features(
    backbone: nn.Module, images: Tensor, layers: Iterable[str]
) -> dict[str, Tensor]:
    """Pooled features by layer, (B, D_layer) each: those of `layers` among `DEPTHS` and "gap".

    "gap" is the global average of the last map. conv1 is the stem before max-pooling, res2..res5
    the four stages. The two halves of a Lab backbone are concatenated. A vision transformer's
    depths are its embedded patches and its tokens after a quarter, two, three quarters and all of
    the blocks (the last normalised), pooled to the largest grid of at most 9,216 numbers. A
    network of timm's has those of `TimmBackbone.depths`; "gap" is what timm pools.
    """
    from bench.nn.lab import LabResNet, to_normalised_lab
    from bench.nn.timm_net import TimmBackbone
    from bench.nn.vit import VisionTransformer

    wanted = tuple(layers)
    if isinstance(backbone, TimmBackbone):
        return _timm_features(backbone, images, wanted)
    if isinstance(backbone, VisionTransformer):
        return _vit_features(backbone, images, wanted)
    if isinstance(backbone, LabResNet):
        lab = to_normalised_lab(images)
        halves = (
            _resnet_features(backbone.l, lab[:, :1], wanted),
            _resnet_features(backbone.ab, lab[:, 1:], wanted),
        )
        return {name: torch.cat([half[name] for half in halves], 1) for name in wanted}
    return _resnet_features(backbone, images, wanted)


def _timm_features(
    backbone: TimmBackbone, images: Tensor, wanted: tuple[str, ...]
) -> dict[str, Tensor]:
    if wanted == (GAP,):
        return {GAP: backbone(images)}
    maps, pooled = backbone.depths(images)
    features = {}
    for name, x in zip(DEPTHS, maps, strict=True):
        if name in wanted and backbone.shape.resnet:
            features[name] = pool_map(name, x)
        elif name in wanted:
            features[name] = _grid(x, max(1, int((MOST / x.shape[1]) ** 0.5)))
    return {**features, GAP: pooled} if GAP in wanted else features


def _resnet_features(
    backbone: nn.Module, images: Tensor, wanted: tuple[str, ...]
) -> dict[str, Tensor]:
    features = {}
    for name, x in _resnet_maps(backbone, images):
        if name in wanted:
            features[name] = pool_map(name, x)
        if name == DEPTHS[-1] and GAP in wanted:
            features[GAP] = x.mean((2, 3))
    return features


def _resnet_maps(backbone: nn.Module, images: Tensor) -> Iterator[tuple[str, Tensor]]:
    part = dict(backbone.named_children())
    x = part["relu"](part["bn1"](part["conv1"](images)))
    yield DEPTHS[0], x
    x = part["maxpool"](x)
    for number, name in enumerate(DEPTHS[1:], 1):
        x = part[f"layer{number}"](x)
        yield name, x


def _vit_features(
    backbone: VisionTransformer, images: Tensor, wanted: tuple[str, ...]
) -> dict[str, Tensor]:
    height, width = images.shape[-2] // backbone.patch, images.shape[-1] // backbone.patch
    tokens = backbone.tokens(images)
    first = (backbone.cls_token + backbone.pos_embed[:, :1]).expand(len(tokens), -1, -1)
    x, depth, features = torch.cat([first, tokens], 1), len(backbone.blocks), {}
    ends = [depth * k // 4 for k in range(5)]
    side = int((MOST / backbone.feature_dim) ** 0.5)
    for at, name in enumerate(DEPTHS):
        for block in backbone.blocks[ends[at - 1] if at else 0 : ends[at]]:
            x = block(x)
        y = (backbone.norm(x) if name == DEPTHS[-1] else x)[:, 1:]
        if name in wanted:
            features[name] = _grid(y.transpose(1, 2).reshape(len(images), -1, height, width), side)
        if name == DEPTHS[-1] and GAP in wanted:
            features[GAP] = y.mean(1)
    return features
