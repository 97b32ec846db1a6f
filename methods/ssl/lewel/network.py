"""LEWEL's networks and loss."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contracts.network import Batch, Network, Views
from bench.core.errors import BadInput
from bench.nn.backbones import build_backbone
from bench.nn.byol import byol_loss, output_std
from bench.nn.ema import cosine_momentum, ema_update
from bench.nn.heads import make_head, mlp, project
from methods.ssl.lewel.params import LewelParams


class AlignedNeck(nn.Module):
    """Projections of the pooled feature and of features pooled by alignment maps.

    One projector g (MLP) is shared by the pooled feature and every location: z = g(mean of x), d_l
    = g(x_l). The K outputs at a location, scaled to unit length, give K maps A_lk = softmax over l
    of (d_lk / t). With H heads, maps and channels are split into H groups: o_j = concatenation
    over h of sum_l A_l,hj x_l,h, for j = 1 .. K / H, each projected by a second MLP g'.
    """

    def __init__(
        self,
        channels: int,
        hidden: int,
        out: int,
        groups: int,
        temperature: float,
        heads: int,
        mode: Literal["fan_in", "fan_out"] = "fan_in",
    ) -> None:
        super().__init__()
        if out % groups or channels % groups:
            raise BadInput(
                f"align_heads must divide the projection ({out}) and the features ({channels}), "
                f"got {groups}; try: --set lewel.align_heads=4"
            )
        self.groups, self.temperature = groups, temperature
        self.projector = make_head(lambda: mlp(channels, hidden, out, mode), heads)
        self.projector_object = make_head(lambda: mlp(channels, hidden, out, mode), heads)

    def forward(self, maps: Tensor, objects: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, C, h, w) -> instance (B, K), aligned (B, K / H, K)."""
        x = maps.flatten(2).transpose(1, 2)
        tokens = torch.cat([x.mean(1, keepdim=True), x], 1)
        z = _rows(self.projector, tokens, objects)
        return z[:, 0], _rows(self.projector_object, self.align(x, z[:, 1:]), objects)

    def align(self, x: Tensor, dense: Tensor) -> Tensor:
        """Features (B, L, C) and dense projections (B, L, K) -> pooled features (B, K / H, C)."""
        maps = (F.normalize(dense, dim=2) / self.temperature).softmax(1)
        weights, values = (t.unflatten(2, (self.groups, -1)) for t in (maps, x))
        return torch.einsum("blhk,blhc->bkhc", weights, values.to(weights.dtype)).flatten(2)


def _rows(head: nn.Module, x: Tensor, objects: Tensor | None) -> Tensor:
    """(B, n, D) through a head of rows; `objects` (B,) bool holds for all n rows of a sample."""
    kinds = None if objects is None else objects.repeat_interleave(x.shape[1])
    return project(head, x.flatten(0, 1), kinds).unflatten(0, x.shape[:2])


class LewelNetwork(Network):
    """Online backbone, neck and two predictors; the target has no predictors."""

    def __init__(self, params: LewelParams, heads: int = 1) -> None:
        super().__init__()
        p, online = params, build_backbone(params.backbone, params.init)
        self.params_ = p
        self.backbone: nn.Module = online
        self.neck = AlignedNeck(
            online.feature_dim,
            p.hidden,
            p.out,
            p.align_heads,
            p.temperature,
            heads,
            p.mlp_init,
        )
        self.predictor = mlp(p.out, p.hidden, p.out, p.mlp_init)
        self.predictor_object = mlp(p.out, p.hidden, p.out, p.mlp_init)
        self.target_backbone = copy.deepcopy(self.backbone).requires_grad_(False)
        self.target_neck = copy.deepcopy(self.neck).requires_grad_(False)

    def train(self, mode: bool = True) -> LewelNetwork:
        """With EMAN the target is always in eval mode."""
        super().train(mode)
        if self.params_.target_bn == "eman":
            self.target_backbone.eval()
            self.target_neck.eval()
        return self

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Both directions summed, 0 to 8: (1 - w) x instance + w x aligned. Multi-crop's small
        views predict both global targets; then 2 x the mean over all pairs."""
        views = batch.views
        both = (views["view1"], views["view2"])
        online = [self._predict(v) for v in both]
        with torch.no_grad():
            target = [
                self.target_neck(_maps(self.target_backbone, v.images), v.objects) for v in both
            ]
        pairs = [(online[0], target[1]), (online[1], target[0])]
        for view in (v for role, v in views.items() if role.startswith("small")):
            small = self._predict(view)
            pairs += [(small, t) for t in target]
        parts = [2 * torch.stack([byol_loss(p[i], z[i]) for p, z in pairs]).mean() for i in (0, 1)]
        weight = self.params_.object_weight
        return {
            "loss": (1 - weight) * parts[0] + weight * parts[1],
            "instance": parts[0],
            "object": parts[1],
            "std": output_std(online[0][0].detach()),
        }

    def _predict(self, view: Views) -> tuple[Tensor, Tensor]:
        instance, aligned = self.neck(_maps(self.backbone, view.images), view.objects)
        return self.predictor(instance), _rows(self.predictor_object, aligned, None)

    def after_step(self, step: int, total_steps: int) -> None:
        """Move the target, momentum from `ema0` to 1 by a cosine; with EMAN its batch-norm
        statistics too."""
        momentum = cosine_momentum(step, total_steps, self.params_.ema0)
        for target, online in (
            (self.target_backbone, self.backbone),
            (self.target_neck, self.neck),
        ):
            ema_update(target, online, momentum)
            if self.params_.target_bn == "eman":
                _average_buffers(target, online, momentum)

    def embed(self, images: Tensor) -> Tensor:
        """Online projections of the pooled features; call in eval mode."""
        return self.neck(_maps(self.backbone, images))[0]  # type: ignore[no-any-return]


def _maps(backbone: nn.Module, images: Tensor) -> Tensor:
    maps: Callable[[Tensor], Tensor] = backbone.maps  # type: ignore[assignment]
    return maps(images)


@torch.no_grad()
def _average_buffers(target: nn.Module, online: nn.Module, momentum: float) -> None:
    """EMAN (Cai et al. 2021): running means and variances move as parameters do; counters are
    copied."""
    for moved, towards in zip(target.buffers(), online.buffers(), strict=True):
        if moved.is_floating_point():
            moved.lerp_(towards, 1.0 - momentum)
        else:
            moved.copy_(towards)
