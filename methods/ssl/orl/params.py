"""ORL's settings."""

from __future__ import annotations

from typing import Literal

from bench.contracts.method import PretrainParams
from bench.core.params import param
from bench.data.boxes import PixelRule


class OrlParams(PretrainParams):
    """Defaults: paper 002, section 3, on COCO; where its code differs, each setting says which it
    follows."""

    ema0: float = param(
        0.99, ge=0, lt=1, help="target momentum at step 0", search=[0.9, 0.99, 0.996, 0.999]
    )
    hidden: int = param(4096, ge=1, help="hidden width of projector and predictors")
    out: int = param(256, ge=1, help="output width of projector and predictors")
    min_scale: float = param(
        0.08, gt=0, le=1, help="least area of a global view, fraction of the image"
    )
    patch: int = param(96, ge=8, help="side of RoI patches, pixels")
    stage1: str = param("byol", help="method that finds neighbours and correspondences")
    proposals: str = param(
        "selective_search", help="source of RoIs; ground_truth is the paper's ablation"
    )
    neighbours: int = param(
        10, ge=1, help="K, neighbour images of an image", search=[1, 5, 10, 20]
    )
    drop_self: Literal["by_index", "rank0"] = param(
        "by_index",
        help="by_index: an image is never its own neighbour; rank0: the most similar image is "
        "dropped, whichever it is (the code)",
    )
    pairs: Literal["rows10pct", "matrix10pct"] = param(
        "rows10pct",
        help="rows10pct: pair_share of the query's RoIs (the code); matrix10pct: of all RoI "
        "pairs (the paper's words, about 100 times as many)",
    )
    pair_share: float = param(
        0.1, gt=0, le=1, help="N, share of top RoI pairs", search=[0.05, 0.1, 0.2]
    )
    roi_size: int = param(224, ge=8, help="side to which RoIs are resized to be compared, pixels")
    min_side: float = param(
        96, ge=0, help="least side of an RoI in pixels, which `pixels` explains"
    )
    pixels: PixelRule = param(
        "absolute",
        help="absolute: min_side is in pixels of the image itself (the authors' code); "
        "scaled: pixels at a short side of 480, which follow the image, as at tiny and small",
    )
    max_ratio: float = param(3.0, ge=1, help="largest aspect ratio of an RoI")
    nms: float = param(0.5, ge=0, le=1, help="largest IoU between an image's RoIs")
    top: int = param(100, ge=1, help="most RoIs of an image")
    jitter_iou_min: float | None = param(
        0.5,
        ge=0,
        lt=1,
        help="least IoU of a jittered RoI with its RoI (the code); none: the paper's words",
    )
    jitter_aspect: Literal["absolute", "relative"] = param(
        "absolute", help="the jitter's aspect ratio replaces (the code) or multiplies the RoI's"
    )
    lambda_global: float = param(1.0, ge=0, help="weight of the image loss")
    lambda_intra: float = param(1.0, ge=0, help="weight of the intra-RoI loss")
    lambda_inter: float = param(1.0, ge=0, help="weight of the inter-RoI loss")
