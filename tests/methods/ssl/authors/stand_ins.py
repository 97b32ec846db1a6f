"""What stands in for backbones and pyramids, and batches of what they answer."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contracts.network import Batch, Views


class Part(nn.Module):
    """A module with one parameter, because `ema_update` takes none without."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))


class Identity(Part):
    """A backbone whose images are its pooled features or its feature maps."""

    def forward(self, x: Tensor) -> Tensor:
        return x if x.ndim == 2 else x.mean((2, 3))

    def maps(self, x: Tensor) -> Tensor:
        return x


class Linear(nn.Module):
    """A backbone of one 1 x 1 convolution without bias."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def maps(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight[..., None, None])


class MapsOfRows(Part):
    """A backbone whose image's first pixel names its row of the maps."""

    def __init__(self, maps: dict[str, Tensor]) -> None:
        super().__init__()
        self.held = maps

    def stages(self, images: Tensor) -> OrderedDict[str, Tensor]:
        row = images[:, 0, 0, 0].long()
        return OrderedDict((name, x[row]) for name, x in self.held.items())


class MapsOfViews(Part):
    """A backbone whose images' first pixel names the view whose maps it answers."""

    def __init__(self, maps: dict[int, dict[str, Tensor]]) -> None:
        super().__init__()
        self.held = maps

    def stages(self, images: Tensor) -> OrderedDict[str, Tensor]:
        return OrderedDict(self.held[int(images[0, 0, 0, 0])])


def answer_stages(backbone: MapsOfRows | MapsOfViews, images: Tensor) -> OrderedDict[str, Tensor]:
    """In place of `bench.nn.fpn.stage_maps`."""
    return backbone.stages(images)


class Pyramid(Part):
    """A feature pyramid that passes on its maps."""

    def forward(self, maps: OrderedDict[str, Tensor]) -> OrderedDict[str, Tensor]:
        return OrderedDict((name, x) for name, x in maps.items() if name.startswith("p"))


def views(
    images: Tensor,
    boxes: Tensor | None = None,
    flipped: Tensor | None = None,
    index: Tensor | None = None,
) -> Views:
    """One role of a batch; what is not given is 0, the index counts."""
    n = len(images)
    none = torch.zeros(n, dtype=torch.bool)
    return Views(
        images,
        torch.zeros(n, 4) if boxes is None else boxes,
        none if flipped is None else flipped,
        torch.arange(n) if index is None else index,
        none,
    )


def pair(first: Tensor, second: Tensor, step: int = 0, total: int = 1, **extra: Tensor) -> Batch:
    """A batch of two views."""
    return Batch({"view1": views(first), "view2": views(second)}, extra, step, total)


@torch.no_grad()
def descend(rate: float, modules: Iterable[nn.Module]) -> None:
    """One step of plain SGD, p -= rate x gradient; gradients are None afterwards."""
    for module in modules:
        for p in module.parameters():
            if p.grad is not None:
                p -= rate * p.grad
            p.grad = None
