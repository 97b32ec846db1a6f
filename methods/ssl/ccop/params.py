"""CCOP's settings."""

from __future__ import annotations

from typing import Literal

from bench.contracts.method import PretrainParams
from bench.core.params import param
from bench.data.boxes import PixelRule


class CcopParams(PretrainParams):
    """Defaults: paper 003 on COCO (section 4.1); where its code differs, each setting says so."""

    lr: float = param(
        0.3,
        gt=0,
        help="learning rate of 256 images; scaled by batch_size/256",
        search=["log", 1e-2, 1.0],
    )
    batch_size: int = param(256, ge=2, help="images per optimiser step over all devices")
    warmup_epochs: float = param(0.0, ge=0, help="epochs of linear warm-up (the code: 10)")
    bn_groups: int = param(
        8,
        ge=1,
        help="groups of a batch with batch-norm statistics of their own, keys regrouped at "
        "random, as on the paper's 8 GPUs with ShuffleBN; a group has at least 2 images",
    )
    ema: float = param(
        0.999, ge=0, lt=1, help="momentum of the key network", search=[0.9, 0.99, 0.996, 0.999]
    )
    tau: float = param(
        0.2, gt=0, help="temperature of both contrastive losses", search=["log", 0.05, 1.0]
    )
    queue: int = param(
        65536, ge=1, help="most keys in each queue; fewer for sets smaller than COCO"
    )
    queue_overflow: Literal["drop", "wrap"] = param(
        "drop",
        help="RoI keys past the queue's end: drop loses them (the code), wrap continues at its "
        "start",
    )
    hidden: int = param(2048, ge=1, help="hidden width of both heads")
    out: int = param(128, ge=1, help="output width of both heads")
    fpn_width: int = param(256, ge=1, help="channels of the feature pyramid")
    dropout: float = param(
        0.0, ge=0, lt=1, help="dropout in both heads, of the key network too (the code: 0.1)"
    )
    aug: Literal["moco_v2", "code_torchvision"] = param(
        "moco_v2",
        help="moco_v2: views of area .2 to 1, saturation .4 (the paper); code_torchvision: area "
        ".1 to 1, saturation .2",
    )
    proposals: str = param(
        "selective_search", help="source of RoIs; Table 5 also has ground_truth and random boxes"
    )
    min_sqrt_area: float = param(
        20.0,
        ge=0,
        help="RoIs have a larger sqrt(area) in pixels, which `pixels` explains (20: the code; the "
        "paper: 12)",
    )
    pixels: PixelRule = param(
        "absolute",
        help="absolute: min_sqrt_area is in pixels of the image itself (the authors' code); "
        "scaled: pixels at a short side of 480, which follow the image, as at tiny and small",
    )
    max_ratio: float = param(3.0, ge=1, help="RoIs have a smaller aspect ratio")
    nms: float = param(0.5, ge=0, le=1, help="largest IoU between an image's RoIs")
    top: int = param(50, ge=1, help="most RoIs of an image, in a random order")
    intra: Literal["triplet_code", "hinge_paper"] = param(
        "triplet_code",
        help="triplet_code: max(qi.kj - qj.kj + alpha, 0); hinge_paper: max(qi.qj - alpha, 0)",
    )
    alpha: float = param(
        0.4, help="margin of the intra-image loss (Table 7)", search=[0.0, 0.2, 0.4, 0.6]
    )
    sncl: Literal["code", "paper"] = param(
        "code",
        help="box noise from start to end; code: IoU .8 to .4, centre .075 to .3, log size .175 "
        "to .7; paper: IoU .8 to .3, corner and log size .3 to 1",
    )
    fixed_beta: float | None = param(
        None,
        gt=0,
        le=1,
        help="hold the IoU bound instead of lowering it; 1: no noise (Table 6)",
        search=[1.0, 0.6, 0.3],
    )
    jitters: int = param(10, ge=1, help="moved boxes per RoI, of which the hardest is the key")
    lambda_image: float = param(1.0, ge=0, help="weight of the image loss")
    lambda_roi: float = param(1.0, ge=0, help="weight of the RoI loss")
    lambda_intra: float = param(1.0, ge=0, help="weight of the intra-image loss")
