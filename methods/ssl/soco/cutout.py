"""Grey squares in the boxes of a view."""

from __future__ import annotations

import torch
from torch import Tensor

from bench.nn.distributed import draw_rows


def cutout(images: Tensor, boxes: Tensor, p: float, share: tuple[float, float]) -> Tensor:
    """(B, 3, S, S) with squares set to 0 (the mean colour): for each box of (B, K, 4) with
    probability `p` one square of U(share) of the box's area, its centre uniform in the box. A
    pixel goes if its centre is inside.

    Draws come from torch's global generator on the CPU, so that a seed gives equal squares on any
    device.
    """
    batch, k, _ = boxes.shape
    draws = draw_rows(lambda rows: torch.rand(4, rows, k).transpose(0, 1), batch)
    on, part, *at = draws.to(boxes.device).unbind(1)
    low, sides = boxes[..., :2], boxes[..., 2:] - boxes[..., :2]
    half = ((share[0] + part * (share[1] - share[0])) * sides.prod(-1)).sqrt() / 2
    half = torch.where(on < p, half, torch.zeros_like(half)).unsqueeze(-1)
    middle = low + torch.stack(at, -1) * sides
    grid = torch.arange(images.shape[-1], device=images.device, dtype=boxes.dtype) + 0.5
    columns, rows = (
        ((grid - middle[..., i : i + 1]).abs() < half).to(images.dtype) for i in (0, 1)
    )
    hole = rows.transpose(1, 2) @ columns > 0
    return images.masked_fill(hole.unsqueeze(1), 0.0)
