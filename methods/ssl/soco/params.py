"""SoCo's settings."""

from __future__ import annotations

from typing import Literal

from bench.contracts.method import PretrainParams, RateMoves
from bench.core.params import param
from bench.data.boxes import PixelRule


class SocoParams(PretrainParams):
    """Defaults: the published training script of SoCo with FPN, 100 epochs (its ImageNet
    setting)."""

    epochs: int = param(
        100, ge=1, help="passes over the crop's samples (400 for the longer schedule)"
    )
    batch_size: int = param(2048, ge=2, help="images per optimiser step over all devices")
    optimizer: Literal["sgd", "lars", "adamw"] = param("lars")
    lr: float = param(
        1.0,
        gt=0,
        help="learning rate of 256 images; scaled by batch_size/256",
        search=["log", 1e-2, 3.0],
    )
    weight_decay: float = param(1e-5, ge=0)
    decay_norm_and_bias: bool = param(False, help="weight decay on batch norm and biases too")
    warmup_epochs: float = param(10.0, ge=0, help="epochs of linear warm-up")
    warmup_ratio: float = param(
        0.01, ge=0, le=1, help="learning rate factor at step 0 (the code: a hundredth)"
    )
    lr_step: RateMoves = param("iter", help="whether the cosine moves every epoch or every step")
    ema0: float = param(
        0.99, ge=0, lt=1, help="target momentum at step 0", search=[0.9, 0.99, 0.996, 0.999]
    )
    fpn: int = param(
        256, ge=1, help="channels of the feature pyramid and of the head's convolutions"
    )
    fc: int = param(1024, ge=1, help="width of the head's linear layer")
    hidden: int = param(4096, ge=1, help="hidden width of projector and predictor")
    out: int = param(256, ge=1, help="output width of projector and predictor")
    min_scale: float = param(0.5, gt=0, le=1, help="least area of the second and third view")
    v3: Literal["independent", "downsampled"] = param(
        "independent",
        help="third view: a crop of its own (the code) or the second's at half its size",
    )
    proposals: str = param(
        "selective_search",
        help="source of the boxes; selective_search is OpenCV's, the authors took AlpacaDB's "
        "Python code",
    )
    boxes: int = param(4, ge=1, help="K, boxes of a pair of views", search=[1, 4, 8, 16])
    tries: int = param(5, ge=1, help="draws of the crops until K/2, then fewer boxes meet both")
    min_side: float = param(
        32, ge=0, help="least side of a box in pixels, which `pixels` explains"
    )
    pixels: PixelRule = param(
        "absolute",
        help="absolute: min_side is in pixels of the image itself (the authors' code); "
        "scaled: pixels at a short side of 480, which follow the image, as at tiny and small",
    )
    max_ratio: float = param(3.0, ge=1, help="largest aspect ratio of a box")
    share: tuple[float, float] = param((0.3, 0.8), help="range of sqrt(box area / image area)")
    jitter_p: float = param(
        0.5, ge=0, le=1, help="probability that a box of the first view is moved"
    )
    jitter: float = param(
        0.1, ge=0, lt=0.5, help="how far it is moved, fraction of its width and height"
    )
    thresholds: tuple[float, float, float] = param(
        (48.0, 96.0, 192.0), help="largest sqrt(area) on p2, p3 and p4, pixels of a 224-pixel view"
    )
    levels: Literal["same", "any"] = param(
        "any",
        help="any: two boxes of one proposal count as a pair on whatever levels the two views "
        "put them (the code); same: only where both views put the proposal on one level",
    )
    cutout_p: float = param(0.5, ge=0, le=1, help="probability of a grey square in a box")
    cutout: tuple[float, float] = param(
        (0.1, 0.3), help="range of the square's area, fraction of the box"
    )
    cutout_views: Literal["view2", "both"] = param(
        "both",
        help="both: the second and the third view have grey squares (the FPN code); view2: the "
        "second view alone",
    )
