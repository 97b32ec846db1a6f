"""Point-wise spatial attention: over-completed maps, two ways to use them (Zhao et al. 2018)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.core.errors import BadInput


def map_index(size: tuple[int, int], mask: tuple[int, int], device: torch.device) -> Tensor:
    """(L, L) int64, L = height * width of `size`: entry [j, i] is the channel that the map of
    position i keeps for position j, that is, for the offset j - i; `mask[0] * mask[1]` where it
    does not reach j."""
    rows, columns = (torch.arange(n, device=device) for n in size)
    down = rows[:, None] - rows[None] + mask[0] // 2  # [row of j, row of i]
    right = columns[:, None] - columns[None] + mask[1] // 2
    inside = ((down >= 0) & (down < mask[0]))[:, None, :, None] & (
        (right >= 0) & (right < mask[1])
    )[None, :, None]
    channel = down[:, None, :, None] * mask[1] + right[None, :, None]
    length = size[0] * size[1]
    return torch.where(inside, channel, mask[0] * mask[1]).reshape(length, length)


def reindex(maps: Tensor, mask: tuple[int, int]) -> Tensor:
    """(B, mask_h * mask_w, H, W), a map of offsets per position, centred -> (B, L, L), L = H * W.

    Entry [b, j, i] is the value that position i's map has at offset j - i, and 0 where it does not
    reach j; a map of (2H - 1)(2W - 1) values reaches every position.
    """
    batch, _, height, width = maps.shape
    index = map_index((height, width), mask, maps.device)
    padded = torch.cat([maps.flatten(2), maps.new_zeros(batch, 1, height * width)], 1)
    return padded.gather(1, index.expand(batch, -1, -1))


def attend(
    features: Tensor,
    maps: Tensor,
    mask: tuple[int, int],
    way: Literal["collect", "distribute"],
    normalise: Literal["softmax", "count"],
) -> Tensor:
    """One branch: features (B, C, H, W) and maps (B, mask_h * mask_w, H, W) -> (B, C, H, W).

    collect: z_i = sum_j a[i -> j] x_j with a of i's own map; distribute: z_j = sum_i a[i -> j]
    x_i, each i deciding by its map where its features go (equations 6 and 7). Weights are
    normalised over what is summed, by softmax (the authors' code; out of a map's reach counts as 0
    before it) or by 1 / (H W) (equation 1).
    """
    weights = reindex(maps, mask)  # [j, i]
    if way == "distribute":
        weights = weights.transpose(1, 2)
    weights = weights.softmax(1) if normalise == "softmax" else weights / weights.shape[1]
    return (features.flatten(2) @ weights).view_as(features)


def conv(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class Branch(nn.Module):
    """Reduction, adaption, and the over-completed map of each position."""

    def __init__(
        self,
        inputs: int,
        width: int,
        way: Literal["collect", "distribute"],
        mask: tuple[int, int],
        shrink: int,
        normalise: Literal["softmax", "count"],
    ) -> None:
        super().__init__()
        self.way, self.mask, self.shrink, self.normalise = way, mask, shrink, normalise
        self.reduce = conv(inputs, width, 1)
        self.adapt = nn.Sequential(
            conv(width, width, 1), nn.Conv2d(width, mask[0] * mask[1], 1, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        reduced = self.reduce(x)
        if self.shrink > 1:
            small = [(n - 1) // self.shrink + 1 for n in x.shape[2:]]
            reduced = resize(reduced, small, _align_corners(x, self.shrink))
        return attend(reduced, self.adapt(reduced), self.mask, self.way, self.normalise)


class PsaHead(nn.Module):
    """PSANet's head: both branches, projected back and concatenated with the features they came
    from, one 3x3 convolution, the classifier. (B, inputs, H, W) -> logits (B, classes, H, W)."""

    def __init__(
        self,
        inputs: int,
        width: int,
        classes: int,
        dropout: float,
        mask: tuple[int, int] = (97, 97),
        shrink: int = 2,
        normalise: Literal["softmax", "count"] = "softmax",
    ) -> None:
        super().__init__()
        if not mask[0] % 2 or not mask[1] % 2:
            raise BadInput(
                f"an attention map has a centre, so its sides are odd, got {mask}; try: 97,97"
            )
        self.shrink = shrink
        self.collect = Branch(inputs, width, "collect", mask, shrink, normalise)
        self.distribute = Branch(inputs, width, "distribute", mask, shrink, normalise)
        self.project = conv(2 * width, inputs, 1)
        self.fuse = conv(2 * inputs, width, 3)
        self.drop = nn.Dropout2d(dropout)
        self.classify = classifier(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        context = self.project(torch.cat([self.collect(x), self.distribute(x)], 1))
        context = resize(context, list(x.shape[2:]), _align_corners(x, self.shrink))
        return self.classify(self.drop(self.fuse(torch.cat([x, context], 1))))  # type: ignore[no-any-return]


def classifier(inputs: int, classes: int) -> nn.Conv2d:
    """1x1 convolution, N(0, .01), bias 0."""
    layer = nn.Conv2d(inputs, classes, 1)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def resize(x: Tensor, size: list[int], corners: bool = False) -> Tensor:
    """Bilinear, to (height, width); the tensor itself where it has that size."""
    if list(x.shape[2:]) == size:
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=corners)


def _align_corners(x: Tensor, shrink: int) -> bool:
    """Corners are aligned where the reduction keeps every `shrink`-th cell, as the authors' crops
    of 8n + 1 pixels make it; cells' borders where sides are even."""
    return all((n - 1) % shrink == 0 for n in x.shape[2:])
