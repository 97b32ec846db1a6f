"""CAST's settings."""

from __future__ import annotations

from typing import Literal

from bench.core.params import param
from methods.ssl.moco_v2.params import MocoParams


class CastParams(MocoParams):
    """Defaults: CAST's published training script (COCO, 200 epochs)."""

    epochs: int = param(200, ge=1, help="passes over the crop's samples")
    lr: float = param(
        0.5,
        gt=0,
        help="learning rate of 256 images; scaled by batch_size/256",
        search=["log", 1e-3, 1.0],
    )
    grad_clip: float = param(2.0, ge=0, help="gradient norm limit; 0: none")
    tau: float = param(
        0.07, gt=0, help="temperature (MoCo version 1's)", search=["log", 0.05, 1.0]
    )
    hidden: int = param(
        0, ge=0, help="hidden width of the head; 0: one linear layer (MoCo version 1)"
    )
    saliency: Literal["boundary", "spectral_residual", "fine_grained"] = param(
        "boundary",
        help="unsupervised saliency in place of DeepUSPS: contrast of colours with the image's "
        "border, or one of OpenCV's maps; above Otsu's threshold is salient",
    )
    saliency_side: int = param(
        256, ge=16, help="images are shrunk to this longer side for saliency, pixels"
    )
    cover: float = param(
        0.2,
        ge=0,
        le=1,
        help="least share of the salient pixels in a crop, less where they are too many",
    )
    lambda_image: float = param(
        1.0, ge=0, help="weight of the contrastive loss, over the sum of weights"
    )
    lambda_attention: float = param(
        3.0, ge=0, help="weight of the attention loss, over the sum of weights"
    )
    attention: Literal["image_paper", "batch_code"] = param(
        "image_paper",
        help="image_paper: cosine per image of the rectified Grad-CAM; batch_code: of each "
        "map scaled to 0..1 without rectifying, the saliency read off at points instead of "
        "averaged over cells, one cosine over the whole batch",
    )
