"""Backbones of the store, and images as they see them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from bench.views.augment import normalise

if TYPE_CHECKING:
    from bench.contracts.context import StageContext

LONGEST = 2048  # pixels: a panorama would become very long


def load_backbone_of(ctx: StageContext, role: str) -> torch.nn.Module:
    """The backbone of the input stage `role`, ready to look at."""
    from bench.nn.backbones import build_backbone, load_backbone
    from bench.stages.features import backbone_name

    with torch.random.fork_rng(devices=[]):
        network = build_backbone(backbone_name(ctx.stage.inputs[role]))
    load_backbone(ctx.inputs[role] / "backbone.pth", network)
    return network.eval()


def to_input(image: np.ndarray, side: int, multiple: int = 1) -> torch.Tensor:
    """(H, W, 3) uint8 -> (1, 3, h, w) normalised, the short side `side`, both sides whole
    multiples."""
    height, width = image.shape[:2]
    factor = min(side / min(height, width), max(1.0, LONGEST / max(height, width)))
    size = [max(32, round(n * factor / multiple) * multiple) for n in (height, width)]
    size = [-(-n // multiple) * multiple for n in size]
    pixels = torch.from_numpy(np.ascontiguousarray(image).copy()).permute(2, 0, 1)[None]
    pixels = F.interpolate(pixels, size, mode="bilinear", antialias=True, align_corners=False)
    return normalise(pixels.float().div_(255))
