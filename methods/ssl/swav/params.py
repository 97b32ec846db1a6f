"""SwAV's settings."""

from __future__ import annotations

from typing import Literal

from bench.contracts.method import PretrainParams, RateMoves
from bench.core.params import param


class SwavParams(PretrainParams):
    """SwAV's settings; the defaults are its code's for batches of 256 (4,096: lr 0.3, warm-up 10
    epochs from 0.0625, no queue). Paper 001 lowers `eps` to 0.03 and halves the rate on
    OpenImages."""

    epochs: int = param(200, ge=1, help="passes over the crop's samples", search=["int", 1, 800])
    batch_size: int = param(256, ge=2, help="images per optimiser step over all devices")
    optimizer: Literal["sgd", "lars", "adamw"] = param("lars")
    lr: float = param(
        0.6,
        gt=0,
        help="learning rate of 256 images; scaled by batch_size/256",
        search=["log", 1e-2, 3.0],
    )
    weight_decay: float = param(1e-6, ge=0)
    warmup_epochs: float = param(0.0, ge=0, help="epochs of linear warm-up")
    lr_step: RateMoves = param("iter", help="whether the cosine moves every epoch or every step")
    hidden: int = param(2048, ge=1, help="hidden width of the projector")
    out: int = param(128, ge=1, help="width of projections and prototypes")
    prototypes: int = param(
        3000, ge=2, help="K; 3000: ImageNet, 3 a class", search=[100, 300, 1000, 3000]
    )
    temperature: float = param(
        0.1, gt=0, help="temperature of the predicted softmax", search=["log", 0.05, 1.0]
    )
    eps: float = param(
        0.05, gt=0, help="Sinkhorn's smoothness; .03: paper 001", search=[0.02, 0.03, 0.05]
    )
    iterations: int = param(3, ge=1, help="Sinkhorn's iterations")
    freeze_epochs: float = param(1.0, ge=0, help="epochs during which prototypes do not move")
    queue: int = param(
        3840, ge=0, help="earlier projections per global view that fill the codes; 0: none"
    )
    queue_from_epoch: int = param(
        15, ge=0, help="epoch, from 0, in which the queue begins to fill"
    )
    queue_below: int = param(512, ge=0, help="batches of this many images and more need no queue")
    min_scale: float = param(
        0.14, gt=0, le=1, help="least area of a global, largest of a small view"
    )
    n_small: int = param(
        6, ge=0, help="small views, where the crop brings none", search=[0, 2, 4, 6]
    )
    small_size: int = param(96, ge=8, help="side of small views, pixels")
    small_min_scale: float = param(0.05, gt=0, le=1, help="least area of a small view")

    @property
    def queue_rows(self) -> int:
        """`queue`, or 0 where batches are large enough without."""
        return self.queue if self.batch_size < self.queue_below else 0
