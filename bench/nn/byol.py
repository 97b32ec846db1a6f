"""What BYOL and the methods built on it share: the loss, and online and target branches."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contracts.method import BackboneInit
from bench.contracts.network import Network, Views
from bench.nn.distributed import gather_rows
from bench.nn.ema import cosine_momentum, ema_update
from bench.nn.heads import make_head, mlp, project


def byol_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """2 - 2 mean_n cos(p_n, z_n): one direction, 0 to 4. p, z: (B, D); no gradient reaches z.

    Source: Grill et al. 2020, equation 2 (the squared distance of the normalised vectors).
    """
    return (
        2.0 - 2.0 * F.cosine_similarity(prediction.float(), target.detach().float(), dim=-1).mean()
    )


@torch.no_grad()
def output_std(features: Tensor) -> Tensor:
    """Mean over dimensions of the standard deviation over the batch of L2-normalised rows of (B,
    D), B the rows of all devices (each passes equally many).

    About 1/sqrt(D) for spread features, 0 for collapsed ones (Chen and He 2021, section 4.1).
    """
    rows = gather_rows(features.detach().float())
    return F.normalize(rows, dim=-1).std(dim=0, unbiased=False).mean()


class OnlineTarget(Network):
    """An online backbone and projector, and a target of the same shape that follows them.

    The target's parameters move only by `after_step` (EMA); it runs in train mode with its own
    batch-norm buffers, which are not averaged. Subclasses add predictors and write `loss`.
    """

    def __init__(
        self,
        backbone: str,
        hidden: int,
        out: int,
        ema0: float,
        heads: int = 1,
        init: BackboneInit = "torchvision",
    ) -> None:
        super().__init__()
        # torchvision takes a second; plans need none
        from bench.nn.backbones import build_backbone

        online = build_backbone(backbone, init)
        self.backbone: nn.Module = online
        self.projector = make_head(lambda: mlp(online.feature_dim, hidden, out), heads)
        self.target_backbone = copy.deepcopy(self.backbone).requires_grad_(False)
        self.target_projector = copy.deepcopy(self.projector).requires_grad_(False)
        self.ema0 = ema0
        self.momentum = ema0

    def online(self, images: Tensor, objects: Tensor | None = None) -> Tensor:
        """(B, 3, H, W) -> (B, out), online projections with gradient;
        `objects` (B,) bool picks heads."""
        return project(self.projector, self.backbone(images), objects)

    @torch.no_grad()
    def target(self, images: Tensor, objects: Tensor | None = None) -> Tensor:
        """(B, 3, H, W) -> (B, out), target projections without gradient."""
        return project(self.target_projector, self.target_backbone(images), objects)

    def symmetric(
        self, predictor: nn.Module, first: Views, second: Views, small: Sequence[Views] = ()
    ) -> tuple[Tensor, Tensor]:
        """(loss, predictions of `first`):
        both directions summed, 0 to 8; each view is forwarded separately,
        so that batch-norm statistics are per view (one forward for both lowers accuracy).

        `small`: multi-crop's extra views. They pass through the online branch only and predict
        both global targets; the loss is then 2 x the mean over the 2 + 2k pairs, so that its range
        stays 0 to 8.
        """
        p1, p2 = (predictor(self.online(v.images, v.objects)) for v in (first, second))
        z1, z2 = (self.target(v.images, v.objects) for v in (first, second))
        pairs = [byol_loss(p1, z2), byol_loss(p2, z1)]
        for view in small:
            p = predictor(self.online(view.images, view.objects))
            pairs += [byol_loss(p, z1), byol_loss(p, z2)]
        return 2 * torch.stack(pairs).mean(), p1.detach()

    def after_step(self, step: int, total_steps: int) -> None:
        """Move the target: parameters only,
        momentum `cosine_momentum(step, total_steps, ema0)`."""
        self.momentum = cosine_momentum(step, total_steps, self.ema0)
        ema_update(self.target_backbone, self.backbone, self.momentum)
        ema_update(self.target_projector, self.projector, self.momentum)

    def embed(self, images: Tensor) -> Tensor:
        """Online projections (paper 002 finds its neighbours in this space); call in eval mode."""
        return self.online(images)
