"""CCOP's spatial noise: moved boxes, and the curriculum of how far they move."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Noise:
    """How far boxes move at one moment of training.

    bound: least IoU with the original. shift, log_size: limits of the uniform draws, shift as a
    fraction of the box's sides. corner: the shift moves the top-left corner (the paper) or the
    centre (the code).
    """

    bound: float
    shift: float
    log_size: float
    corner: bool


SCHEDULES = {  # at the first and at the last step
    "code": (Noise(0.8, 0.075, 0.175, False), Noise(0.4, 0.3, 0.7, False)),
    "paper": (Noise(0.8, 0.3, 0.3, True), Noise(0.3, 1.0, 1.0, True)),
}


def curriculum(progress: float, schedule: str, fixed_beta: float | None = None) -> Noise:
    """The noise after `progress` (0 to 1) of the training, linear between the schedule's ends.

    fixed_beta holds the bound, and the strength at which the schedule would reach that bound
    (Table 6 of paper 003 does not say which strength goes with a bound); 1.0 leaves every box
    where it is.
    """
    first, last = SCHEDULES[schedule]
    if fixed_beta is not None:
        progress = min(max((first.bound - fixed_beta) / (first.bound - last.bound), 0.0), 1.0)
    mix = [
        a + progress * (b - a) for a, b in ((first.bound, last.bound), (first.shift, last.shift))
    ]
    log_size = first.log_size + progress * (last.log_size - first.log_size)
    return Noise(mix[0] if fixed_beta is None else fixed_beta, mix[1], log_size, first.corner)


def move_boxes(boxes: Tensor, noise: Noise, draws: Tensor, limit: float) -> Tensor:
    """(n, 4) xyxy and draws (n, m, 4) from U(-1, 1) -> (n, m, 4) moved boxes, cut to 0..limit.

    Corner: x' = x + s_x w, y' = y + s_y h; w' = w exp(s_w), h' = h exp(s_h) (paper 003, equation
    7), else the same with the centre for (x, y).
    """
    sides = (boxes[:, 2:] - boxes[:, :2])[:, None]
    new_sides = sides * torch.exp(draws[..., 2:] * noise.log_size)
    low = boxes[:, None, :2] + draws[..., :2] * noise.shift * sides
    if not noise.corner:
        low = low + (sides - new_sides) / 2
    return torch.cat([low, low + new_sides], -1).clamp(0, limit)


def candidates(boxes: Tensor, noise: Noise, draws: Tensor, limit: float) -> tuple[Tensor, Tensor]:
    """Moved boxes and, last, the original: (n, m + 1, 4), and which of them may be chosen: (n, m +
    1) bool.

    A moved box may be if its IoU with the original is at least `noise.bound`. The original always
    may in the code; in the paper's reading (corner) only where no moved box may.
    """
    moved = move_boxes(boxes, noise, draws, limit)
    allowed = iou(boxes[:, None], moved) >= noise.bound
    original = ~allowed.any(1, keepdim=True) if noise.corner else torch.ones_like(allowed[:, :1])
    return torch.cat([moved, boxes[:, None]], 1), torch.cat([allowed, original], 1)


def iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of xyxy boxes (..., 4), broadcast; 0 where the union is empty."""
    sides = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(
        min=0
    )
    inter = sides[..., 0] * sides[..., 1]
    union = _area(a) + _area(b) - inter
    return torch.where(union > 0, inter / union.clamp(min=torch.finfo(union.dtype).tiny), 0.0)


def _area(boxes: Tensor) -> Tensor:
    sides = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
    return sides[..., 0] * sides[..., 1]
