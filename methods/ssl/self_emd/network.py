"""Self-EMD's networks and loss."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from bench.contracts.network import Batch, Network, Views
from bench.nn.backbones import build_backbone
from bench.nn.byol import output_std
from bench.nn.ema import cosine_momentum, ema_update
from bench.nn.heads import make_head, project
from methods.ssl.self_emd.params import SelfEmdParams


class SelfEmdNetwork(Network):
    """Online backbone, projector and predictor over feature maps; the target has no predictor."""

    def __init__(self, params: SelfEmdParams, heads: int = 1) -> None:
        super().__init__()
        p, online = params, build_backbone(params.backbone, params.init)
        self.params_ = p
        self.backbone: nn.Module = online
        self.projector = make_head(lambda: conv_head(online.feature_dim, p.hidden, p.out), heads)
        self.predictor = conv_head(p.out, p.hidden, p.out)
        self.target_backbone = copy.deepcopy(self.backbone).requires_grad_(False)
        self.target_projector = copy.deepcopy(self.projector).requires_grad_(False)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The sum of both directions, 0 to 8: twice the distance each. Multi-crop's small views
        predict both global targets; then 2 x the mean over all pairs."""
        views = batch.views
        first, second = views["view1"], views["view2"]
        p1, p2 = self._predict(first), self._predict(second)
        with torch.no_grad():
            z1, z2 = self._target(first), self._target(second)
        pairs = [self._distance(p1, z2), self._distance(p2, z1)]
        for view in (v for role, v in views.items() if role.startswith("small")):
            p = self._predict(view)
            pairs += [self._distance(p, z1), self._distance(p, z2)]
        return {
            "loss": 4 * torch.stack(pairs).mean(),
            "std": output_std(p1.detach().flatten(0, 1)),
        }

    def _distance(self, prediction: Tensor, target: Tensor) -> Tensor:
        from methods.ssl.self_emd.transport import emd

        return emd(prediction, target, self.params_.eps, self.params_.sinkhorn).mean()

    def _predict(self, view: Views) -> Tensor:
        return _local(self.predictor(_project(self.projector, self.backbone, view)))

    def _target(self, view: Views) -> Tensor:
        return _local(_project(self.target_projector, self.target_backbone, view))

    def after_step(self, step: int, total_steps: int) -> None:
        """Move the target: parameters only, momentum from `ema0` to 1 by a cosine."""
        momentum = cosine_momentum(step, total_steps, self.params_.ema0)
        ema_update(self.target_backbone, self.backbone, momentum)
        ema_update(self.target_projector, self.projector, momentum)

    def embed(self, images: Tensor) -> Tensor:
        """Online projections, averaged over the map; call in eval mode."""
        maps: Callable[[Tensor], Tensor] = self.backbone.maps  # type: ignore[assignment]
        return project(self.projector, maps(images)).mean((2, 3))


def conv_head(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """BYOL's head as 1 x 1 convolutions: conv - BN - ReLU - conv (no bias); (B, inputs, h, w) ->
    (B, outputs, h, w). Initialised as `bench.nn.heads.mlp`."""
    first, last = nn.Conv2d(inputs, hidden, 1), nn.Conv2d(hidden, outputs, 1, bias=False)
    for layer in (first, last):
        nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
    nn.init.zeros_(first.bias)  # type: ignore[arg-type]
    return nn.Sequential(first, nn.BatchNorm2d(hidden), nn.ReLU(inplace=True), last)


def _project(head: nn.Module, backbone: nn.Module, view: Views) -> Tensor:
    maps: Callable[[Tensor], Tensor] = backbone.maps  # type: ignore[assignment]
    return project(head, maps(view.images), view.objects)


def _local(maps: Tensor) -> Tensor:
    """(B, D, h, w) -> (B, h w, D)."""
    return maps.flatten(2).transpose(1, 2)
