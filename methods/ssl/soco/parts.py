"""SoCo's networks and arithmetic: a feature pyramid, RoI features, cut-out, and the loss over
boxes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.nn.distributed import draw_rows
from bench.nn.heads import make_head, mlp, project

BINS = 7  # RoIAlign's output, 7 x 7


def correspondence(
    ids1: Tensor, ids2: Tensor, levels1: Tensor, levels2: Tensor, same: bool
) -> Tensor:
    """(B, K) x (B, K) -> (B, K, K) float: 1 where both are the same proposal, if `same` on the
    same level."""
    match = ids1[:, :, None] == ids2[:, None, :]
    if same:
        match = match & (levels1[:, :, None] == levels2[:, None, :])
    return match.float()


def soco_loss(prediction: Tensor, target: Tensor, corr: Tensor) -> Tensor:
    """-2 mean_n [sum_ij corr_nij cos(p_ni, z_nj) / (sum_ij corr_nij + 1e-6)]: one direction, -2 to
    2.

    p, z: (B, K, D); corr: (B, K, K). An image without a pair adds 0. No gradient reaches z.
    """
    with torch.autocast(prediction.device.type, enabled=False):
        p, z = (
            F.normalize(prediction.float(), dim=-1),
            F.normalize(target.detach().float(), dim=-1),
        )
        total = ((p @ z.transpose(1, 2)) * corr).sum((1, 2))
    return -2.0 * (total / (corr.sum((1, 2)) + 1e-6)).mean()


def own_level(found: Tensor, levels: Tensor) -> Tensor:
    """Of every box's outputs on each level (L, B, n, D) those on its own, levels (B, n) int64: (B,
    n, D)."""
    return found.gather(0, levels[None, :, :, None].expand(1, -1, -1, found.shape[-1]))[0]


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


class RoiHead(nn.Module):
    """(n, width, 7, 7) -> (n, fc): four 3 x 3 convolutions with BN and ReLU, then a linear layer
    and ReLU."""

    def __init__(self, width: int, fc: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(4):
            layers += [
                nn.Conv2d(width, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
        self.convs = nn.Sequential(*layers)
        self.fc = nn.Linear(width * BINS * BINS, fc)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.fc(self.convs(x).flatten(1)))


class RoiBranch(nn.Module):
    """What follows the backbone: FPN p2 to p5 with BN, RoIAlign, detection head and projector."""

    def __init__(
        self, feature_dim: int, width: int, fc: int, hidden: int, out: int, heads: int = 1
    ) -> None:
        super().__init__()
        from bench.nn.fpn import build_fpn

        self.fpn = build_fpn(feature_dim, width)
        self.head = RoiHead(width, fc)
        self.projector = make_head(lambda: mlp(fc, hidden, out), heads)

    def forward(
        self, backbone: nn.Module, images: Tensor, boxes: Tensor, objects: Tensor | None
    ) -> Tensor:
        """images (B, 3, S, S), boxes (B, n, 4) xyxy in view pixels -> (4, B, n, out): every box on
        p2 to p5.

        Head and projector see one level at a time, so that their batch norm tells the boxes of a
        level apart. With statistics over all levels, outputs that depend on a box's level alone
        would have spread, and
        boxes match on equal levels: nothing would be left to learn.
        """
        from bench.nn.fpn import pool_rois, stage_maps

        count = boxes.shape[1]
        maps = list(self.fpn(stage_maps(backbone, images)).values())  # type: ignore[arg-type]
        image = torch.arange(len(boxes), device=boxes.device).repeat_interleave(count)
        rows = None if objects is None else objects.repeat_interleave(count)
        found = []
        for level in range(len(maps)):
            on = torch.full_like(image, level)
            rois = pool_rois(maps, boxes.flatten(0, 1), image, on, images.shape[-1], BINS)
            found.append(project(self.projector, self.head(rois), rows))
        return torch.stack(found).view(len(maps), len(boxes), count, -1)
