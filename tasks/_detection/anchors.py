"""Anchors and pyramid levels by the rules of detectron2, which the papers' numbers come from."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import roi_align

RATIOS = (0.5, 1.0, 2.0)  # height / width


def cell_anchors(size: float, ratios: Sequence[float] = RATIOS) -> Tensor:
    """(len(ratios), 4) xyxy around the origin, area size^2, not rounded (torchvision rounds)."""
    boxes = []
    for ratio in ratios:
        width = math.sqrt(size * size / ratio)
        height = width * ratio
        boxes.append([-width / 2, -height / 2, width / 2, height / 2])
    return torch.tensor(boxes)


class Anchors(nn.Module):
    """The sizes of each level at fixed strides, centres at multiples of the stride (torchvision
    derives strides from padded sizes, which moves anchors by up to 36 pixels at 800 x 1333)."""

    def __init__(self, sizes: Sequence[float | Sequence[float]], strides: Sequence[int]) -> None:
        super().__init__()
        self.sizes = [tuple(s) if isinstance(s, Sequence) else (s,) for s in sizes]
        self.strides = tuple(strides)

    def num_anchors_per_location(self) -> list[int]:
        return [len(RATIOS) * len(sizes) for sizes in self.sizes]

    def grid(self, level: int, height: int, width: int, device: torch.device) -> Tensor:
        """(height x width x 3 sizes, 4) xyxy, row by row, the anchors of a place together, size by
        size."""
        stride = self.strides[level]
        y, x = torch.meshgrid(
            torch.arange(height, device=device) * stride,
            torch.arange(width, device=device) * stride,
            indexing="ij",
        )
        shifts = torch.stack([x, y, x, y], -1).reshape(-1, 1, 4).float()
        cell = torch.cat([cell_anchors(size) for size in self.sizes[level]])
        return (shifts + cell.to(device)).reshape(-1, 4)

    def cover(self, level: int, features: Tensor) -> Tensor:
        """`grid` of a map (B, C, h, w) of the level."""
        height, width = features.shape[-2:]
        return self.grid(level, height, width, features.device)

    def forward(self, images: ImageList, maps: list[Tensor]) -> list[Tensor]:
        parts = [self.cover(level, features) for level, features in enumerate(maps)]
        return [torch.cat(parts) for _ in images.image_sizes]


def assign_levels(boxes: Tensor, canonical: float, levels: int) -> Tensor:
    """Pyramid level (0-based from stride 4) of xyxy boxes: floor(2 + log2(sqrt(area) /
    canonical)), clamped (Lin et al. 2017, equation 1; detectron2's epsilon)."""
    sides = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    level = torch.floor(2 + torch.log2(sides.clamp(min=0).sqrt() / canonical + 1e-8))
    return level.clamp(0, levels - 1).long()


def make_rois(boxes: list[Tensor]) -> Tensor:
    """Boxes per image -> (n, 5): the image's place in the batch, xyxy."""
    return torch.cat([torch.cat([b.new_full((len(b), 1), i), b], 1) for i, b in enumerate(boxes)])


def pool_levels(
    maps: list[Tensor], boxes: list[Tensor], size: int, canonical: float, strides: Sequence[int]
) -> Tensor:
    """RoIAlign with half-pixel alignment and adaptive sampling from each box's level: (n, C, size,
    size)."""
    rois = make_rois(boxes)
    level = assign_levels(rois[:, 1:], canonical, len(maps))
    regions = maps[0].new_zeros(len(rois), maps[0].shape[1], size, size)
    for i, features in enumerate(maps):
        at = (level == i).nonzero().flatten()
        if len(at):
            pooled = roi_align(
                features, rois[at].to(features.dtype), size, 1 / strides[i], 0, aligned=True
            )
            regions = regions.index_copy(0, at, pooled)
    return regions
