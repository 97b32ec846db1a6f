"""Logits of an image: the whole at once, or windows that cover it, their logits averaged."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from bench.core.errors import BadInput
from tasks._segmentation.protocol import SegmentationParams

Net = Callable[[Tensor], Tensor]  # (1, 3, h, w) -> logits (1, classes, h, w)


def list_starts(length: int, window: int, stride: int) -> list[int]:
    """Where windows begin along a side: every `stride` from 0, the last moved back so that it ends
    with the side. One window where it is at least as long."""
    if window >= length:
        return [0]
    count = -(-(length - window) // stride) + 1
    return [min(i * stride, length - window) for i in range(count)]


def list_windows(
    size: tuple[int, int], window: tuple[int, int], stride: tuple[int, int]
) -> list[tuple[slice, slice]]:
    """Windows over an image of `size`, height and width; every pixel is in one at least."""
    if stride[0] > window[0] or stride[1] > window[1]:
        raise BadInput(
            f"windows of {window} every {stride} pixels leave gaps; try: stride={window}"
        )
    return [
        (slice(y, min(y + window[0], size[0])), slice(x, min(x + window[1], size[1])))
        for y in list_starts(size[0], window[0], stride[0])
        for x in list_starts(size[1], window[1], stride[1])
    ]


def slide(
    net: Net, image: Tensor, window: tuple[int, int], stride: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Mean logits (1, classes, H, W) over the windows that hold a pixel, and how many (H, W)."""
    size = (image.shape[2], image.shape[3])
    count = torch.zeros(size, device=image.device)
    total: Tensor | None = None
    for rows, columns in list_windows(size, window, stride):
        logits = net(image[:, :, rows, columns]).float()
        if total is None:
            total = logits.new_zeros(1, logits.shape[1], *size)
        total[:, :, rows, columns] += logits
        count[rows, columns] += 1
    assert total is not None
    return total / count, count


def infer(net: Net, image: Tensor, p: SegmentationParams) -> Tensor:
    """Logits (1, classes, H, W) of an image (1, 3, H, W) the protocol's way."""
    if p.inference == "slide":
        return slide(net, image, p.window, p.stride)[0]
    return net(image)
