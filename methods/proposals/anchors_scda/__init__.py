"""Anchors ranked by a network's activations: the generator of paper 000's coarse crops."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bench.contracts.proposals import Found, Proposals, ProposalsParams, Proposer, scale_back
from bench.core.files import write_json
from bench.core.params import param
from methods.proposals.anchors_scda.scda import activation_map, make_anchors, pick_separate

if TYPE_CHECKING:
    import torch

    from bench.contracts.context import StageContext
    from bench.contracts.images import ImageSet
    from bench.contracts.network import Network
    from bench.contracts.planner import Planner
    from bench.core.stage import Stage

RATIOS = (0.5, 1.0, 2.0)
REFERENCE_SHORT = 224  # the short side for which the sizes are meant where the input is resized
LEVELS = ("c2", "c3", "c4", "c5")
LONGEST = 2048  # pixels of a resized input: a 1 x 1000 image would become 224 x 224000


class AnchorsScdaParams(ProposalsParams):
    """Defaults are calibrated: they give VOC's reported objectness (docs/design/crops.md);
    `literal` is the paper's words, which return almost only the smallest anchors."""

    recipe: Literal["calibrated", "literal"] = param(
        "calibrated",
        help="literal: full-resolution input, anchors in its pixels, gamma 0, no quota, "
        "whatever the settings below say",
    )
    phi: str = param("moco_v2", help="method that trains the scoring network, on whole images")
    level: Literal["c2", "c3", "c4", "c5"] = param("c5", help="backbone stage whose map is summed")
    resize_short: int | None = param(
        224,
        ge=32,
        help="short side of the network's input, pixels; none: as the image is",
        search=[None, 224, 448],
    )
    sizes: tuple[float, ...] = param(
        (32.0, 64.0, 128.0, 256.0),
        help="anchor sizes, pixels at an input of short side 224 (480 if not resized)",
    )
    gamma: float = param(
        0.25,
        ge=0,
        help="score x (area / image area) ** gamma; 0: the mean alone",
        search=["float", 0.0, 0.5],
    )
    border: Literal["clip", "drop"] = param("clip", help="anchors that cross the image's border")
    nms_iou: float = param(0.5, ge=0, le=1, help="largest IoU between kept anchors")
    per_size_quota: int | None = param(
        None, ge=1, help="most kept anchors of one size; none: no limit"
    )
    top: int = param(20, ge=1, help="anchors kept; crops take the first n_crops of them")


class AnchorsScda(Proposals):
    """Paper 000, section 4 (Our-Crop): sum the feature map over channels, scale it to [0, 1] for
    each image, score 12 anchors a cell by the mean of the bilinearly enlarged map, suppress, keep
    the best.

    Taken literally, the mean prefers the smallest window, and nearly all kept anchors have 32
    pixels, which the paper's figures contradict; so `gamma` weighs a score by its area. A constant
    map, or an image smaller than the smallest anchor, gives the image; fewer survivors than asked
    for are what there is.
    """

    Params = AnchorsScdaParams
    params: AnchorsScdaParams  # type: ignore[assignment]
    on_device = True
    peer = "methods.proposals.anchors_scda.race:races"
    figures = {"scda": "methods.proposals.anchors_scda.figure:run"}
    scales = {"tiny": {"resize_short": 128, "level": "c4", "gamma": 0.15}}

    def stages(self, plan: Planner, data: Stage) -> dict[str, Stage]:
        return {"network": plan.pretrain(self.params.phi, "image", plan.learn_from or data)}

    def prepare(self, ctx: StageContext, images: ImageSet) -> Proposer:
        from bench.stages.pretrain.setup import load_network, pick_device

        source = ctx.stage.inputs["network"]
        network = load_network(ctx.inputs["network"], source.params, len(images))
        device = pick_device(ctx.runtime.devices).kind
        write_json(
            ctx.work / "model.json",
            {
                "network": source.key,
                "method": source.name,
                "supervised": source.name == "supervised",
            },
        )
        return _Scorer(self.params, images, network.to(device), device)


@dataclass
class _Scorer:
    params: AnchorsScdaParams
    images: ImageSet
    network: Network
    device: str

    def __call__(self, index: int, seed: int) -> Found:
        image = self.images.image(index)
        low, (height, width) = score_map(self.network.backbone, image, self.params, self.device)
        return best_anchors(low, image.shape[:2], (height, width), self.params)


def settings(p: AnchorsScdaParams) -> AnchorsScdaParams:
    """`p`, or for the literal recipe what the paper says."""
    if p.recipe == "calibrated":
        return p
    return p.model_copy(
        update={
            "recipe": "calibrated",
            "resize_short": None,
            "gamma": 0.0,
            "per_size_quota": None,
            "level": "c5",
            "sizes": (32.0, 64.0, 128.0, 256.0),
            "max_side": None,
        }
    )


def score_map(
    backbone: torch.nn.Module, image: np.ndarray, params: AnchorsScdaParams, device: str = "cpu"
) -> tuple[np.ndarray, tuple[int, int]]:
    """The activation map (h, w) in [0, 1] of (H, W, 3) uint8, and the network input's (height,
    width)."""
    import torch
    from torch.nn import functional as F

    from bench.views.augment import normalise

    p = settings(params)
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
    p = settings(params)
    height, width = frame
    if p.resize_short:
        unit = min(frame) / REFERENCE_SHORT
    else:
        unit = 1.0 if params.recipe == "literal" else min(frame) / 480
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
