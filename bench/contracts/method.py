"""The Method contract: which views, which loss; it produces a backbone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bench.contracts.component import Component
from bench.contracts.views import Viewer
from bench.core.params import Params, param

if TYPE_CHECKING:
    from bench.contracts.crop import Crop
    from bench.contracts.images import ImageSet
    from bench.contracts.network import Network
    from bench.contracts.planner import Planner
    from bench.core.stage import Stage

# How the convolutions and batch norms of a ResNet start (`bench.nn.resnet.initialise`).
BackboneInit = Literal["torchvision", "fan_in", "zero_residual"]

# When the cosine of the learning rate moves (`bench.nn.schedules.lr_factor`).
RateMoves = Literal["epoch", "iter", "epoch_after_warmup"]


class PretrainParams(Params):
    """What every pretraining has. Defaults: ORL's and BYOL's on COCO (paper 002, section 3.2)."""

    backbone: str = param(
        "resnet50", help="resnet10 | 18 | 34 | 50 | 101, and _half, _quarter, _cifar, _zeroinit"
    )
    init: BackboneInit = param(
        "torchvision",
        later=True,
        help="how a ResNet's weights start; torchvision: convolutions by fan-out; fan_in: "
        "OpenSelfSup's (the code of BYOL on COCO, ORL, SimCLR and DenseCL); zero_residual: the "
        "last batch norm of each block at 0 (the code of SimSiam and SoCo)",
    )
    image_size: int = param(224, ge=16, help="side of the global views, pixels")
    epochs: int = param(800, ge=1, help="passes over the crop's samples", search=["int", 1, 800])
    batch_size: int = param(512, ge=2, help="images per optimiser step over all devices")
    optimizer: Literal["sgd", "lars", "adamw"] = param("sgd")
    lr: float = param(
        0.2, gt=0, help="for 256 images; scaled by batch_size/256", search=["log", 1e-3, 1.0]
    )
    momentum: float = param(0.9, ge=0, lt=1, search=[0.8, 0.9, 0.95, 0.99])
    weight_decay: float = param(1e-4, ge=0, search=["log", 1e-6, 1e-2])
    decay_norm_and_bias: bool = param(True, help="weight decay on batch norm and biases too")
    warmup_epochs: float = param(4.0, ge=0, help="epochs of linear warm-up")
    warmup_ratio: float = param(1e-4, ge=0, le=1, help="learning rate factor at step 0")
    lr_step: RateMoves = param(
        "epoch",
        help="when the cosine moves; epoch_after_warmup: every epoch, and from the warm-up's end",
    )
    precision: Literal["fp32", "bf16"] = param("fp32")
    grad_clip: float = param(0.0, ge=0, help="gradient norm limit; 0: none")
    colour_jitter: float = param(
        1.0,
        ge=0,
        le=2,
        later=True,
        help="factor on the strength of the method's colour jitter, where it has any",
    )


class Method(Component):
    """An SSL method (`methods/ssl/`)."""

    kind = "method"
    Params = PretrainParams
    params: PretrainParams
    trains: bool = True  # False: `network().backbone` is used as initialised
    embeds_boxes: bool = False  # True: the network has `embed_boxes`
    # True: the loss is a mean over samples none of which looks at another (no batch norm, no
    # negatives), so that a step may be divided into parts whose gradients are averaged
    # (`--accumulate`).
    separable: bool = False

    def stages(self, plan: Planner, data: Stage) -> dict[str, Stage]:
        """The input stages besides data and the crop's, by role (ORL: "pairs")."""
        return {}

    def supports(self, crop: type[Crop]) -> str | None:
        """None, or why this crop cannot be paired with this method."""
        return None

    def viewer(self, images: ImageSet, inputs: dict[str, Path]) -> Viewer:
        """The method's view plan; `inputs` are the folders of all input stages by role."""
        raise NotImplementedError

    def network(self, n_images: int, heads: int = 1) -> Network:
        """Freshly initialised networks (the caller has seeded torch). `n_images`: size of the
        split, for queues that scale with it. `heads`: `Crop.heads()`; 2 asks for
        `bench.nn.heads.KindHeads`, one projection head for object views and one for the others
        (paper 001)."""
        raise NotImplementedError

    def inspect(self, images: ImageSet, inputs: dict[str, Path]) -> dict[str, object]:
        """Pictures worth tracking once, name -> (H, W, 3) uint8 (ORL: its correspondences)."""
        return {}
