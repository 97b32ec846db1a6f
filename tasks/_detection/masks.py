"""Masks between an image's frame and the frames of boxes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import roi_align

from tasks._detection.detector import Detections, Target

MASK_SIDE = 28


def mask_targets(masks: Tensor, boxes: Tensor, matched: Tensor, side: int = MASK_SIDE) -> Tensor:
    """Binary (n, side, side) targets: the matched masks (n, H, W) sampled in xyxy `boxes` of their
    frame, >= 0.5."""
    rois = torch.cat([matched[:, None].to(boxes), boxes], 1)
    sampled = roi_align(masks[:, None].float(), rois, side, 1.0, 0, aligned=True)
    return (sampled[:, 0] >= 0.5).float()


def to_source(boxes: Tensor, target: Target) -> Tensor:
    """xyxy boxes of the padded frame in the original frame of the masks: times `scale`, plus
    `origin` (2,), the place of the frame's corner, where the frame is a crop."""
    scaled = boxes * target["scale"].repeat(2).to(boxes)
    return scaled + target["origin"].repeat(2).to(boxes) if "origin" in target else scaled


def add_masks(detections: Detections, logits: Tensor) -> None:
    """Give each detection the probabilities of its own class's map."""
    labels = torch.cat([one["labels"] for one in detections])
    own = logits.sigmoid()[torch.arange(len(labels), device=logits.device), labels - 1]
    for one, part in zip(
        detections, own.split([len(one["labels"]) for one in detections]), strict=True
    ):
        one["masks"] = part


def paste(masks: Tensor, boxes: Tensor, height: int, width: int) -> Tensor:
    """(n, S, S) probabilities into their xyxy boxes of a (height, width) image, threshold 0.5:
    bool."""
    x1, y1, x2, y2 = boxes.unbind(1)
    across = (x2 - x1).clamp(min=1e-6)[:, None]
    down = (y2 - y1).clamp(min=1e-6)[:, None]
    x = (torch.arange(width, device=boxes.device) + 0.5 - x1[:, None]) / across
    y = (torch.arange(height, device=boxes.device) + 0.5 - y1[:, None]) / down
    n = len(boxes)
    grid = torch.stack(
        [
            (2 * x - 1)[:, None].expand(n, height, width),
            (2 * y - 1)[..., None].expand(n, height, width),
        ],
        -1,
    )
    return F.grid_sample(masks[:, None].float(), grid, align_corners=False)[:, 0] >= 0.5
