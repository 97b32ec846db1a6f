"""The settings of ranked anchors, and what the paper's own words make of them."""

from __future__ import annotations

from typing import Literal

from bench.contracts.proposals import ProposalsParams
from bench.core.params import param


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


def apply_recipe(p: AnchorsScdaParams) -> AnchorsScdaParams:
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
