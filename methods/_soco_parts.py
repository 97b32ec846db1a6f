"""SoCo's networks and arithmetic: a feature pyramid, RoI features, cut-out, and the loss over boxes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.nn.contrastive import at_least_float32
from bench.nn.distributed import draw_rows
from bench.nn.heads import make_head, mlp, project

BINS = 7  # RoIAlign's output, 7 x 7
FRAME = 224  # the view size for which the thresholds of the levels are meant


def assign_levels(boxes: Tensor, thresholds: Sequence[float], size: int) -> Tensor:
    """(..., 4) xyxy in view pixels -> (...) int64: 0 (p2) for sqrt(wh) <= thresholds[0], and so on; larger
    than all: the last level. Thresholds are pixels at views of 224, scaled by `size` / 224; a smaller view
    (V3) is not scaled, so that a box of it lies a level lower, as in the published code."""
    side = ((boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])).clamp(min=0).sqrt()
    limits = torch.tensor(thresholds, device=boxes.device, dtype=side.dtype) * (size / FRAME)
    return (side.unsqueeze(-1) > limits).sum(-1)


def correspondence(ids1: Tensor, ids2: Tensor, levels1: Tensor, levels2: Tensor, same: bool) -> Tensor:
    """(B, K) x (B, K) -> (B, K, K) float: 1 where both are the same proposal, if `same` on the same level."""
    match = ids1[:, :, None] == ids2[:, None, :]
    if same:
        match = match & (levels1[:, :, None] == levels2[:, None, :])
    return match.float()


def soco_loss(prediction: Tensor, target: Tensor, corr: Tensor) -> Tensor:
    """-2 mean_n [sum_ij corr_nij cos(p_ni, z_nj) / (sum_ij corr_nij + 1e-6)]: one direction, -2 to 2.

    p, z: (B, K, D); corr: (B, K, K). An image without a pair adds 0. No gradient reaches z.
    """
    with torch.autocast(prediction.device.type, enabled=False):
        p, z = F.normalize(prediction.float(), dim=-1), F.normalize(target.detach().float(), dim=-1)
        total = ((p @ z.transpose(1, 2)) * corr).sum((1, 2))
    return -2.0 * (total / (corr.sum((1, 2)) + 1e-6)).mean()


def cutout(images: Tensor, boxes: Tensor, p: float, share: tuple[float, float]) -> Tensor:
    """(B, 3, S, S) with squares set to 0 (the mean colour): for each box of (B, K, 4) with probability `p`
    one square of U(share) of the box's area, its centre uniform in the box. A pixel goes if its centre is
    inside.

    Draws come from torch's global generator on the CPU, so that a seed gives equal squares on any device.
    """
    batch, k, _ = boxes.shape
    draws = draw_rows(lambda rows: torch.rand(4, rows, k).transpose(0, 1), batch)
    on, part, *at = draws.to(boxes.device).unbind(1)
    low, sides = boxes[..., :2], boxes[..., 2:] - boxes[..., :2]
    half = ((share[0] + part * (share[1] - share[0])) * sides.prod(-1)).sqrt() / 2
    half = torch.where(on < p, half, torch.zeros_like(half)).unsqueeze(-1)
    middle = low + torch.stack(at, -1) * sides
    grid = torch.arange(images.shape[-1], device=images.device, dtype=boxes.dtype) + 0.5
    columns, rows = (((grid - middle[..., i : i + 1]).abs() < half).to(images.dtype) for i in (0, 1))
    hole = rows.transpose(1, 2) @ columns > 0
    return images.masked_fill(hole.unsqueeze(1), 0.0)


def stages(backbone: nn.Module, images: Tensor) -> OrderedDict[str, Tensor]:
    """(B, 3, H, W) -> C2 to C5 of a `ResNetBackbone`, by name."""
    b = backbone
    x = b.maxpool(b.relu(b.bn1(b.conv1(images))))  # type: ignore[operator]
    found: OrderedDict[str, Tensor] = OrderedDict()
    for name, stage in (("c2", b.layer1), ("c3", b.layer2), ("c4", b.layer3), ("c5", b.layer4)):
        x = found[name] = stage(x)  # type: ignore[operator]
    return found


class RoiHead(nn.Module):
    """(n, width, 7, 7) -> (n, fc): four 3 x 3 convolutions with BN and ReLU, then a linear layer and ReLU."""

    def __init__(self, width: int, fc: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(4):
            layers += [nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        self.convs = nn.Sequential(*layers)
        self.fc = nn.Linear(width * BINS * BINS, fc)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.fc(self.convs(x).flatten(1)))


class RoiBranch(nn.Module):
    """What follows the backbone: FPN p2 to p5 with BN, RoIAlign, detection head and projector."""

    def __init__(self, feature_dim: int, width: int, fc: int, hidden: int, out: int, heads: int = 1) -> None:
        super().__init__()
        from torchvision.ops import FeaturePyramidNetwork

        channels = [feature_dim // 8, feature_dim // 4, feature_dim // 2, feature_dim]
        self.fpn = FeaturePyramidNetwork(channels, width, norm_layer=nn.BatchNorm2d)
        self.head = RoiHead(width, fc)
        self.projector = make_head(lambda: mlp(fc, hidden, out), heads)

    def forward(
        self, backbone: nn.Module, images: Tensor, boxes: Tensor, levels: Tensor, objects: Tensor | None
    ) -> Tensor:
        """images (B, 3, S, S), boxes (B, n, 4) xyxy in view pixels, levels (B, n) -> (B, n, out)."""
        count = boxes.shape[1]
        maps = list(self.fpn(stages(backbone, images)).values())
        features = self.head(align(maps, boxes, levels, images.shape[-1]))
        rows = None if objects is None else objects.repeat_interleave(count)
        return project(self.projector, features, rows).view(len(boxes), count, -1)


def align(maps: Sequence[Tensor], boxes: Tensor, levels: Tensor, size: int) -> Tensor:
    """RoIAlign (aligned, 7 x 7) of each box on its own level: maps of (B, C, h_l, w_l) and boxes (B, n, 4) of
    views of `size` pixels -> (B n, C, 7, 7). A level without a box still takes part in the graph."""
    from torchvision.ops import roi_align

    batch, count = levels.shape
    image = torch.arange(batch, device=boxes.device).repeat_interleave(count)
    rows = torch.cat([image[:, None].to(boxes.dtype), boxes.reshape(-1, 4)], 1)
    flat, parts, order = levels.reshape(-1), [], []
    for level, fmap in enumerate(maps):
        here = (flat == level).nonzero().flatten()
        scale = fmap.shape[-1] / size  # 1/4 .. 1/32, or more where a small view's map is rounded up
        parts.append(
            roi_align(at_least_float32(fmap), at_least_float32(rows[here]), BINS, scale, aligned=True)
        )
        order.append(here)
    return torch.cat(parts)[torch.cat(order).argsort()]
