"""lightly's modules for the methods that it has too, in the loops of its examples: what `bench
perf train` measures against. Weights are copied from our network, so that equal images give equal
losses."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contracts.method import Method
from bench.contracts.network import Network
from bench.core.errors import BadInput

try:
    from lightly import loss as losses
    from lightly.models import modules
    from lightly.models.utils import deactivate_requires_grad, update_momentum
except ImportError:
    raise BadInput(
        "the comparison needs lightly, which is not installed; "
        'try: pip install "ssl-crop-bench[test]"'
    ) from None


class _Base(nn.Module):
    """Backbone and projection head; `prepare` and `as_ours` for those who need nothing else."""

    def __init__(self, method: Method, network: Network, head: nn.Module) -> None:
        super().__init__()
        self.backbone = _backbone(method.params.backbone, network)
        self.projection_head = head
        _copy(head, network.get_submodule("projector"))

    def forward(self, x: Tensor) -> Tensor:
        return self.projection_head(self.backbone(x).flatten(start_dim=1))  # type: ignore[no-any-return]

    def prepare(self) -> None:
        pass

    def as_ours(self, loss: float) -> float:
        return loss

    def trainable(self) -> Iterable[nn.Parameter]:
        return [p for p in self.parameters() if p.requires_grad]


class _Momentum(_Base):
    """With a copy that follows; lightly moves it before the forward pass."""

    momentum: float

    def follow(self) -> None:
        self.backbone_momentum = copy.deepcopy(self.backbone)
        self.projection_head_momentum = copy.deepcopy(self.projection_head)
        deactivate_requires_grad(self.backbone_momentum)
        deactivate_requires_grad(self.projection_head_momentum)

    def forward_momentum(self, x: Tensor) -> Tensor:
        y = self.backbone_momentum(x).flatten(start_dim=1)
        return self.projection_head_momentum(y).detach()  # type: ignore[no-any-return]

    def prepare(self) -> None:
        update_momentum(self.backbone, self.backbone_momentum, m=self.momentum)
        update_momentum(self.projection_head, self.projection_head_momentum, m=self.momentum)


class _Byol(_Momentum):
    def __init__(self, method: Method, network: Network) -> None:
        p: Any = method.params
        super().__init__(
            method, network, modules.BYOLProjectionHead(_features(network), p.hidden, p.out)
        )
        self.prediction_head = modules.BYOLPredictionHead(p.out, p.hidden, p.out)
        _copy(self.prediction_head, network.get_submodule("predictor"))
        self.momentum = p.ema0
        self.follow()
        self.criterion = losses.NegativeCosineSimilarity()

    def loss(self, views: list[Tensor]) -> Tensor:
        x0, x1 = views
        p0, z0 = self.prediction_head(self(x0)), self.forward_momentum(x0)
        p1, z1 = self.prediction_head(self(x1)), self.forward_momentum(x1)
        return 0.5 * (self.criterion(p0, z1) + self.criterion(p1, z0))  # type: ignore[no-any-return]

    def as_ours(self, loss: float) -> float:
        """The sum of two squared distances, 4 + 4 x the mean negative cosine."""
        return 4 + 4 * loss


class _Moco(_Momentum):
    def __init__(self, method: Method, network: Network) -> None:
        p: Any = method.params
        if p.symmetric:
            raise BadInput(
                "lightly's MoCo contrasts one direction; try: --set moco_v2.symmetric=false"
            )
        super().__init__(
            method, network, modules.MoCoProjectionHead(_features(network), p.hidden, p.dim)
        )
        self.momentum = p.ema
        self.follow()
        keys = network.get_buffer("queue.keys")
        self.criterion = losses.NTXentLoss(p.tau, memory_bank_size=tuple(keys.shape))
        self.criterion.memory_bank.bank.copy_(keys)

    def loss(self, views: list[Tensor]) -> Tensor:
        query, key = views
        return self.criterion(self(query), self.forward_momentum(key))  # type: ignore[no-any-return]


class _Simclr(_Base):
    def __init__(self, method: Method, network: Network) -> None:
        p: Any = method.params
        super().__init__(
            method, network, modules.SimCLRProjectionHead(_features(network), p.hidden, p.out)
        )
        self.criterion = losses.NTXentLoss(p.temperature)

    def loss(self, views: list[Tensor]) -> Tensor:
        return self.criterion(*(self(x) for x in views))  # type: ignore[no-any-return]


class _Swav(_Base):
    """Without a queue, which lightly's example does not have; ours has one by its settings."""

    def __init__(self, method: Method, network: Network) -> None:
        p: Any = method.params
        super().__init__(
            method, network, modules.SwaVProjectionHead(_features(network), p.hidden, p.out)
        )
        self.prototypes = modules.SwaVPrototypes(p.out, p.prototypes)
        layer: Any = self.prototypes.heads[0]
        layer.weight.data.copy_(
            F.normalize(network.get_parameter("prototypes.weight").data, dim=1)
        )
        layer.bias.data.zero_()
        self.criterion = losses.SwaVLoss(p.temperature, p.iterations, p.eps)

    def prepare(self) -> None:
        self.prototypes.normalize()

    def loss(self, views: list[Tensor]) -> Tensor:
        scores = [self.prototypes(F.normalize(self(x), dim=1, p=2)) for x in views]
        return self.criterion(scores[:2], scores[2:]).squeeze()  # type: ignore[no-any-return]


def byol(method: Method, network: Network) -> nn.Module:
    """BYOL as lightly's example has it."""
    return _Byol(method, network)


def moco(method: Method, network: Network) -> nn.Module:
    """MoCo v2 as lightly's example has it: one batch norm over the batch, the keys in order."""
    return _Moco(method, network)


def simclr(method: Method, network: Network) -> nn.Module:
    """SimCLR as lightly's example has it: a forward for each view."""
    return _Simclr(method, network)


def swav(method: Method, network: Network) -> nn.Module:
    """SwAV as lightly's example has it: a forward for each view."""
    return _Swav(method, network)


def _backbone(name: str, network: Network) -> nn.Module:
    """torchvision's ResNet less its classifier, with our network's weights; a copy of our network
    where torchvision has none of that name, so that the steps are compared on equal networks."""
    build = getattr(torchvision.models, name, None)
    if not name.startswith("resnet") or build is None:
        return copy.deepcopy(network.backbone)
    resnet = build(weights=None)
    resnet.fc = nn.Identity()
    resnet.load_state_dict(network.backbone.state_dict())
    return nn.Sequential(*list(resnet.children())[:-1])


def _features(network: Network) -> int:
    layers = network.get_submodule("projector").modules()
    return next(m for m in layers if isinstance(m, nn.Linear)).in_features


def _copy(head: nn.Module, ours: nn.Module) -> None:
    """Weights and buffers of the linear layers and batch norms, in order. A bias that lightly has
    and we lack is zero at the start. One that we have before a batch norm and lightly lacks, which
    has no effect in training, is taken off the running mean."""
    kinds = (nn.Linear, nn.BatchNorm1d)
    mine, theirs = ([m for m in x.modules() if isinstance(m, kinds)] for x in (ours, head))
    extra: Tensor | float = 0.0
    with torch.no_grad():
        for source, target in zip(mine, theirs, strict=True):
            target.weight.copy_(source.weight)
            if isinstance(target, nn.BatchNorm1d):
                for name, less in (("running_mean", extra), ("running_var", 0.0)):
                    target.get_buffer(name).copy_(source.get_buffer(name) - less)
            bias = source.bias if source.bias is not None else torch.zeros(len(source.weight))
            extra = bias if target.bias is None else 0.0
            if target.bias is not None:
                target.bias.copy_(bias)
