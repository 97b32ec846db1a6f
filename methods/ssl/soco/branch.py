"""What follows SoCo's backbone: feature pyramid, RoI features, head and projector."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.nn.fpn import build_fpn, pool_rois, stage_maps
from bench.nn.heads import make_head, mlp, project

BINS = 7  # RoIAlign's output, 7 x 7


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
        would have spread, and boxes match on equal levels: nothing would be left to learn.
        """
        count = boxes.shape[1]
        maps = list(self.fpn(stage_maps(backbone, images)).values())  # type: ignore[arg-type]
        image = torch.arange(len(boxes), device=boxes.device).repeat_interleave(count)
        rows = None if objects is None else objects.repeat_interleave(count)
        outputs = []
        for level in range(len(maps)):
            on = torch.full_like(image, level)
            rois = pool_rois(maps, boxes.flatten(0, 1), image, on, images.shape[-1], BINS)
            outputs.append(project(self.projector, self.head(rois), rows))
        return torch.stack(outputs).view(len(maps), len(boxes), count, -1)
