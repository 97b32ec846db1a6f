"""MoCo v2's settings, at every scale; the methods built on it start from them."""

from __future__ import annotations

from typing import Any, Literal

from bench.contracts.method import PretrainParams
from bench.core.params import param
from methods.ssl._tiny import TINY_VIEWS


class MocoParams(PretrainParams):
    """MoCo v2's settings; the defaults are those of pretraining on COCO (papers 000, 002 and
    003)."""

    batch_size: int = param(256, ge=2, help="images per optimiser step over all devices")
    lr: float = param(
        0.3,
        gt=0,
        help="learning rate of 256 images; scaled by batch_size/256 (.03: ImageNet)",
        search=["log", 1e-3, 1.0],
    )
    warmup_epochs: float = param(0.0, ge=0, help="epochs of linear warm-up")
    ema: float = param(
        0.999,
        ge=0,
        lt=1,
        help="momentum of the key encoder, constant",
        search=[0.9, 0.99, 0.996, 0.999],
    )
    tau: float = param(
        0.2, gt=0, help="temperature (.07 is version 1's)", search=["log", 0.05, 1.0]
    )
    queue: int = param(
        65536, ge=1, help="most keys in the queue; a small set gets about half its images"
    )
    hidden: int = param(2048, ge=1, help="hidden width of the head, which has no batch norm")
    dim: int = param(128, ge=1, help="output width of the head")
    shuffle: Literal["shuffle_bn", "sync"] = param(
        "shuffle_bn",
        help="shuffle_bn: batch norm per group, keys in another order than queries (on one "
        "device: split batch norm); sync: batch norm over the whole batch (paper 000)",
    )
    bn_groups: int = param(
        8, ge=1, help="batch-norm groups of a batch over all devices, each of >= 2 images"
    )
    symmetric: bool = param(
        False, help="each view is query and key once; the loss is the mean of both"
    )
    min_scale: float = param(0.2, gt=0, le=1, help="least area of a view, fraction of its source")


MOCO_TINY: dict[str, Any] = {
    **TINY_VIEWS,
    "hidden": 512,
    "ema": 0.99,  # at .999 the key encoder would keep 61 % of its random weights in 500 steps
    "queue": 256,  # four batches: older keys are of quite another network this early
    "bn_groups": 4,  # groups of 16; 8 groups would leave 8 images each
}


SMALL: dict[str, Any] = {
    "backbone": "resnet18",
    "image_size": 128,
    "epochs": 200,
    "batch_size": 256,
    "hidden": 512,
    "ema": 0.99,
    "precision": "bf16",
}
