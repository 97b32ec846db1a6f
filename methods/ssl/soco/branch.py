"""What follows SoCo's backbone: feature pyramid, RoI features, head and projector."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.nn.fpn import build_fpn, pool_rois, stage_maps
from bench.nn.heads import make_head, project

BINS = 7  # RoIAlign's output, 7 x 7


def two_layers(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """SoCo's projector and predictor: Linear - BN - ReLU - Linear, no last BN; (B, inputs) -> (B,
    outputs). Unlike BYOL's in `bench.nn.heads.mlp`, both layers have a bias, and weights are as
    PyTorch initialises them. Source: the published code."""
    return nn.Sequential(
        nn.Linear(inputs, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, outputs),
    )


def whole_pixels(boxes: Tensor) -> Tensor:
    """(..., 4) xyxy in view pixels -> the boxes whose size decides the pyramid level: corners cut
    to whole pixels, the last one counted as inside, so sides are trunc(x2) - trunc(x1) + 1, as in
    the published code. Features are still taken inside the boxes as they are."""
    low, high = boxes.trunc().chunk(2, -1)
    return torch.cat([low, high + 1], -1)


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
        self.projector = make_head(lambda: two_layers(fc, hidden, out), heads)

    def forward(
        self, backbone: nn.Module, images: Tensor, boxes: Tensor, objects: Tensor | None
    ) -> Tensor:
        """images (B, 3, S, S), boxes (B, n, 4) xyxy in view pixels -> (4, B, n, out): every box on
        p2 to p5.

        Head and projector see one level at a time, so that their batch norm tells the boxes of a
        level apart. With statistics over all levels, outputs that depend on a box's level alone
        would have spread, and most of view 2's boxes match on equal levels: little would be left
        to learn.
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
