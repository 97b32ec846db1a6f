"""ReSim's windows: where they slide, their place in the other view, exact pooling and the loss."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.contracts.network import Views
from bench.nn.contrastive import at_least_float32, info_nce
from bench.nn.distributed import mean_divisor

FRAME = 224  # the view side for which window sides and strides are meant


SLACK = 1e-3  # pixels a window may leave a view by rounding


def sliding_windows(side: float, stride: float, size: int) -> Tensor:
    """(n, 4) float32 xyxy in a view of `size` pixels: windows of `side`, every `stride`, row by
    row, that end before the view does. Both are pixels of a 224-pixel view and scale with it."""
    starts = torch.arange(0, FRAME - side, stride) * (size / FRAME)
    y, x = (g.flatten() for g in torch.meshgrid(starts, starts, indexing="ij"))
    return torch.stack([x, y, x, y], 1) + torch.tensor([0, 0, 1, 1]) * (side * size / FRAME)


def map_windows(windows: Tensor, first: Views, second: Views) -> tuple[Tensor, Tensor]:
    """Windows (n, 4) of the first view in the second: (B, n, 4) xyxy pixels of that view, and
    which of them lie in it as a whole, (B, n) bool; none do where the two views show different
    images.

    Both views' crops are `Views.boxes` (of the source image), mirrored after the crop where
    `flipped`.
    """
    size1, size2 = first.images.shape[-1], second.images.shape[-1]
    points = windows.view(-1, 2, 2).to(first.boxes) / size1
    places = _mirror(points.expand(len(first.boxes), -1, -1, -1), first.flipped)
    corner, sides = (x[:, None, None] for x in _corner_and_sides(first.boxes))
    places = corner + places * sides
    corner, sides = (x[:, None, None] for x in _corner_and_sides(second.boxes))
    places = _mirror((places - corner) / sides, second.flipped) * size2
    boxes = torch.cat([places.amin(2), places.amax(2)], 2)
    inside = (boxes > -SLACK).all(2) & (boxes < size2 + SLACK).all(2)
    return boxes.clamp(0, size2), inside & (first.index == second.index)[:, None]


def _corner_and_sides(boxes: Tensor) -> tuple[Tensor, Tensor]:
    return boxes[:, :2], boxes[:, 2:] - boxes[:, :2]


def _mirror(points: Tensor, flipped: Tensor) -> Tensor:
    """(B, n, 2, 2) points in 0..1 with x -> 1 - x where (B,) `flipped`."""
    x = torch.where(flipped.view(-1, 1, 1), 1 - points[..., 0], points[..., 0])
    return torch.stack([x, points[..., 1]], 3)


def average_windows(
    maps: Tensor, boxes: Tensor, stride: float, half_pixel: bool = False
) -> Tensor:
    """Precise RoI pooling to 1 x 1: (B, C, h, w) and (B, n, 4) xyxy in view pixels -> (B, n, C).

    The integral over the box of the bilinearly interpolated map, over the box's area (Jiang et al.
    2018, equation 2). Pixel j of the map lies at j strides, or at j + 1/2 with `half_pixel`;
    beyond the outer pixels the map falls to 0 linearly. The bilinear kernel is a product, so the
    integral is one of weights along x times one along y.
    """
    at = boxes / stride - (0.5 if half_pixel else 0.0)
    rows = _cover(at[..., 1], at[..., 3], maps.shape[-2])
    columns = _cover(at[..., 0], at[..., 2], maps.shape[-1])
    with torch.autocast(maps.device.type, enabled=False):
        values = at_least_float32(maps)
        return torch.einsum("bny,bcyx,bnx->bnc", rows.to(values), values, columns.to(values))


def _cover(low: Tensor, high: Tensor, length: int) -> Tensor:
    """(B, n) ends -> (B, n, length): mean over low..high of the hat function around each pixel."""
    pixels = torch.arange(length, device=low.device, dtype=low.dtype)

    def integral(end: Tensor) -> Tensor:  # of max(1 - |t|, 0) from -infinity
        t = (end[..., None] - pixels).clamp(-1, 1)
        return 0.5 + t - 0.5 * t * t.abs()

    return (integral(high) - integral(low)) / (high - low).clamp(min=1e-6)[..., None]


def pooled_cells(maps: Tensor) -> Tensor:
    """(B, C, h, w) -> (B, m, C) unit vectors: every 3 x 3 neighbourhood averaged, without padding
    (of a smaller map, what there is of it)."""
    kernel = (min(3, maps.shape[-2]), min(3, maps.shape[-1]))
    pooled = F.avg_pool2d(at_least_float32(maps), kernel, stride=1)
    return F.normalize(pooled.flatten(2).transpose(1, 2), dim=2)


def window_loss(
    queries: Tensor, keys: Tensor, inside: Tensor, negatives: list[Tensor], tau: float
) -> Tensor:
    """InfoNCE of windows: queries, keys (B, n, D), inside (B, n) bool; the mean over windows that
    are inside (on any device), 0 if none is. negatives: (K, D) unit vectors for each of equally
    large runs of images. No gradient reaches keys or negatives."""
    total = queries.new_zeros((), dtype=torch.promote_types(queries.dtype, torch.float32))
    runs = [x.tensor_split(len(negatives)) for x in (queries, keys, inside)]
    for q, k, here, other in zip(*runs, negatives, strict=True):
        query, key = (F.normalize(x[here], dim=1) for x in (q, k))
        total = total + info_nce(query, key, other, tau) * here.sum()
    return total / mean_divisor(inside.sum())
