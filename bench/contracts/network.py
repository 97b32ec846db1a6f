"""What a method trains: its networks, and the batch of views they learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn


@dataclass
class Views:
    """One role of a batch, on the device, augmented.

    images: (B, 3, S, S) float32, normalised. boxes: (B, 4) float32 xyxy, the pixels of the source
    image each view shows (before the flip). flipped: (B,) bool. index: (B,) int64, image position
    in the set.
    objects: (B,) bool, the source's kind is "object"; where a crop asks for two heads it picks the
    head.
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
        """Scalars; "loss" is minimised, the others are logged, and "std" is among them: the
        collapse monitor, `bench.nn.byol.output_std` of the representation that the method compares
        or predicts.

        The loss is a mean over this process's rows whose mean over processes is that of the whole
        batch, and random numbers of rows come from `bench.nn.distributed.draw_rows`: what is
        learnt does not depend on the number of devices.
        """
        raise NotImplementedError

    def after_step(self, step: int, total_steps: int) -> None:
        """Called after optimizer.step(); `step` counts from 0 (EMA updates go here)."""

    def embed(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalised -> (B, D), the space in which this method compares images."""
        raise NotImplementedError

    def embed_boxes(self, images: Tensor, boxes: Tensor) -> Tensor:
        """(1, 3, H, W) normalised, boxes (n, 4) xyxy in its pixels -> (n, D), for methods that
        have `embeds_boxes`."""
        raise NotImplementedError

    def trainable(self) -> list[tuple[str, nn.Parameter]]:
        """Named parameters the optimizer sees."""
        return [(n, p) for n, p in self.named_parameters() if p.requires_grad]

    def fixed_lr(self) -> Sequence[nn.Parameter]:
        """Those of them whose rate stays at the base rate: neither warm-up nor decay."""
        return ()
