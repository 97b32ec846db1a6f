"""An image's anchors ranked by a network's activations: score maps, and the best boxes on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from bench.contracts.images import ImageSet
from bench.contracts.network import Network
from bench.contracts.proposals import Found, scale_back
from bench.data.boxes import scaled_side
from bench.views.augment import normalise
from methods.proposals.anchors_scda.params import AnchorsScdaParams, apply_recipe
from methods.proposals.anchors_scda.scda import activation_map, make_anchors, pick_separate

RATIOS = (0.5, 1.0, 2.0)
REFERENCE_SHORT = 224  # the short side for which the sizes are meant where the input is resized
LEVELS = ("c2", "c3", "c4", "c5")
LONGEST = 2048  # pixels of a resized input: a 1 x 1000 image would become 224 x 224000


@dataclass
class AnchorScorer:
    """Image number i of `images` -> its best anchors by the network's activations."""

    params: AnchorsScdaParams
    images: ImageSet
    network: Network
    device: str

    def __call__(self, index: int, seed: int) -> Found:
        image = self.images.image(index)
        low, (height, width) = score_map(self.network.backbone, image, self.params, self.device)
        return best_anchors(low, image.shape[:2], (height, width), self.params)


def score_map(
    backbone: torch.nn.Module, image: np.ndarray, params: AnchorsScdaParams, device: str = "cpu"
) -> tuple[np.ndarray, tuple[int, int]]:
    """The activation map (h, w) in [0, 1] of (H, W, 3) uint8, and the network input's (height,
    width)."""
    p = apply_recipe(params)
    height, width = image.shape[:2]
    factor = p.resize_short / min(height, width) if p.resize_short else 1.0
    factor = min(factor, max(1.0, LONGEST / max(height, width)))
    if p.max_side is not None:
        factor = min(factor, p.max_side / max(height, width))
    size = (max(32, round(height * factor)), max(32, round(width * factor)))
    pixels = torch.from_numpy(np.ascontiguousarray(image).copy()).permute(2, 0, 1)[None]
    if size != (height, width):
        pixels = F.interpolate(pixels, size, mode="bilinear", antialias=True, align_corners=False)
    with torch.inference_mode():
        features = feature_map(backbone, normalise(pixels.to(device).float().div_(255)), p.level)
    return activation_map(features[0].float().cpu().numpy()), size


def feature_map(backbone: torch.nn.Module, images: torch.Tensor, level: str) -> torch.Tensor:
    """(B, 3, H, W) -> a ResNet stage's output (B, D, h, w); for other backbones `maps`, the last
    one."""
    net: Any = backbone
    if not hasattr(net, "layer4"):
        return net.maps(images)  # type: ignore[no-any-return]
    x = net.maxpool(net.relu(net.bn1(net.conv1(images))))
    for name in LEVELS[: LEVELS.index(level) + 1]:
        x = getattr(net, f"layer{LEVELS.index(name) + 1}")(x)
    return x  # type: ignore[no-any-return]


def best_anchors(
    low: np.ndarray, shape: tuple[int, ...], frame: tuple[int, int], params: AnchorsScdaParams
) -> Found:
    """Boxes on the image of `shape` (height, width), best first, from the map of the network's
    input of `frame` (height, width); scores are means x relative area ** gamma."""
    p = apply_recipe(params)
    height, width = frame
    if p.resize_short:
        unit = min(frame) / REFERENCE_SHORT
    else:
        unit = 1.0 if params.recipe == "literal" else scaled_side(1, width, height)
    sizes = tuple(s * unit for s in p.sizes)
    whole = np.array([[0, 0, shape[1], shape[0]]], np.float32), np.zeros(1, np.float32)
    # inputs are at least 32 pixels
    least = min(frame) if p.resize_short else min(*frame, *shape[:2])
    if low.max() == low.min() or least < min(sizes):
        return whole
    anchors = make_anchors(width, height, (low.shape[0], low.shape[1]), sizes, RATIOS, p.border)
    if len(anchors.boxes) == 0:
        return whole
    sides = anchors.boxes[:, 2:] - anchors.boxes[:, :2]
    scores = anchors.scores(low) * (sides[:, 0] * sides[:, 1] / (width * height)) ** p.gamma
    kept = pick_separate(anchors.boxes, scores, p.nms_iou, p.top, anchors.size, p.per_size_quota)
    factor = np.array([shape[1] / width, shape[0] / height] * 2)
    return scale_back(anchors.boxes[kept], factor, shape), scores[kept].astype(np.float32)
