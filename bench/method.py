"""The Method contract: which views, which loss; it produces a backbone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from torch import Tensor, nn

from bench.component import Component
from bench.params import Params, param
from bench.views.plan import Viewer

if TYPE_CHECKING:
    from bench.cell import Planner
    from bench.crop import Crop
    from bench.data.base import ImageSet
    from bench.stage import Stage


class PretrainParams(Params):
    """What every pretraining has. Defaults are ORL's and BYOL's on COCO (paper 002, section 3.2)."""

    backbone: str = param("resnet50", help="resnet18 | 34 | 50 | 101, and _half, _cifar, _zeroinit")
    image_size: int = param(224, ge=16, help="side of the global views, pixels")
    epochs: int = param(800, ge=1, help="passes over the crop's samples", search=["int", 1, 800])
    batch_size: int = param(512, ge=2, help="images per optimiser step over all devices")
    optimizer: Literal["sgd", "lars", "adamw"] = param("sgd")
    lr: float = param(0.2, gt=0, help="for 256 images; scaled by batch_size/256", search=["log", 1e-3, 1.0])
    momentum: float = param(0.9, ge=0, lt=1, search=[0.8, 0.9, 0.95, 0.99])
    weight_decay: float = param(1e-4, ge=0, search=["log", 1e-6, 1e-2])
    decay_norm_and_bias: bool = param(True, help="weight decay on batch norm and biases too")
    warmup_epochs: float = param(4.0, ge=0, help="epochs of linear warm-up")
    warmup_ratio: float = param(1e-4, ge=0, le=1, help="learning rate factor at step 0")
    lr_step: Literal["epoch", "iter"] = param("epoch", help="when the cosine moves")
    precision: Literal["fp32", "bf16"] = param("fp32")
    grad_clip: float = param(0.0, ge=0, help="gradient norm limit; 0: none")
    colour_jitter: float = param(
        1.0,
        ge=0,
        le=2,
        later=True,
        help="factor on the strength of the method's colour jitter, where it has any",
    )


@dataclass
class Views:
    """One role of a batch, on the device, augmented.

    images: (B, 3, S, S) float32, normalised. boxes: (B, 4) float32 xyxy, the pixels of the source image
    each view shows (before the flip). flipped: (B,) bool. index: (B,) int64, image position in the set.
    objects: (B,) bool, the source's kind is "object"; where a crop asks for two heads it picks the head.
    """

    images: Tensor
    boxes: Tensor
    flipped: Tensor
    index: Tensor
    objects: Tensor


@dataclass
class Batch:
    """A training batch: views by role, the method's extra arrays stacked, and where training is.

    It is `part` of the `parts` into which this process's share of the step was divided.
    """

    views: dict[str, Views]
    extra: dict[str, Tensor] = field(default_factory=dict)
    step: int = 0
    total_steps: int = 1
    part: int = 0
    parts: int = 1


class Network(nn.Module):
    """A method's networks. `backbone` is the one that is evaluated (online, query)."""

    backbone: nn.Module

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Scalars; "loss" is minimised, the others are logged, and "std" is among them: the collapse monitor,
        `bench.nn.byol.output_std` of the representation that the method compares or predicts.

        The loss is a mean over this process's rows whose mean over processes is that of the whole batch, and
        random numbers of rows come from `bench.nn.distributed.draw_rows`: what is learnt does not depend on
        the number of devices.
        """
        raise NotImplementedError

    def after_step(self, step: int, total_steps: int) -> None:
        """Called after optimizer.step(); `step` counts from 0 (EMA updates go here)."""

    def embed(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalised -> (B, D), the space in which this method compares images."""
        raise NotImplementedError

    def embed_boxes(self, images: Tensor, boxes: Tensor) -> Tensor:
        """(1, 3, H, W) normalised, boxes (n, 4) xyxy in its pixels -> (n, D), for methods that have
        `embeds_boxes`."""
        raise NotImplementedError

    def trainable(self) -> list[tuple[str, nn.Parameter]]:
        """Named parameters the optimizer sees."""
        return [(n, p) for n, p in self.named_parameters() if p.requires_grad]

    def fixed_lr(self) -> Sequence[nn.Parameter]:
        """Those of them whose rate stays at the base rate: neither warm-up nor decay."""
        return ()


class Method(Component):
    """An SSL method (`methods/ssl/`)."""

    kind: ClassVar[str] = "method"
    Params: ClassVar[type[Params]] = PretrainParams
    params: PretrainParams
    trains: ClassVar[bool] = True  # False: `network().backbone` is used as initialised
    embeds_boxes: ClassVar[bool] = False  # True: the network has `embed_boxes`
    # True: the loss is a mean over samples none of which looks at another (no batch norm, no negatives), so
    # that a step may be divided into parts whose gradients are averaged (`--accumulate`).
    separable: ClassVar[bool] = False

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
        """Freshly initialised networks (the caller has seeded torch). `n_images`: size of the split,
        for queues that scale with it. `heads`: `Crop.heads()`; 2 asks for `bench.nn.heads.KindHeads`, one
        projection head for object views and one for the others (paper 001)."""
        raise NotImplementedError

    def inspect(self, images: ImageSet, inputs: dict[str, Path]) -> dict[str, object]:
        """Pictures worth tracking once, name -> (H, W, 3) uint8 (ORL: discovered correspondences)."""
        return {}
