"""SwAV's networks and loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contracts.network import Batch, Network
from bench.nn.backbones import build_backbone
from bench.nn.byol import output_std
from bench.nn.contrastive import at_least_float32
from bench.nn.distributed import gather_rows, rank_and_size
from bench.nn.heads import make_head, project
from bench.nn.multicrop import by_size, joined_kinds, order_views
from bench.nn.sinkhorn import sinkhorn, swapped_loss
from methods.ssl.swav.params import SwavParams


class SwavNetwork(Network):
    """Backbone, projector and prototypes. `queue` (2, Q, out): projections of earlier batches of
    each global view, newest first, of all devices; each device scores its share."""

    queue: Tensor

    def __init__(self, params: SwavParams, heads: int = 1) -> None:
        super().__init__()
        online, p = build_backbone(params.backbone, params.init), params
        self.backbone: nn.Module = online
        self.projector = make_head(
            lambda: nn.Sequential(
                nn.Linear(online.feature_dim, p.hidden),
                nn.BatchNorm1d(p.hidden),
                nn.ReLU(inplace=True),
                nn.Linear(p.hidden, p.out),
            ),
            heads,
        )
        self.prototypes = nn.Linear(p.out, p.prototypes, bias=False)
        self.register_buffer("queue", torch.zeros(2, p.queue_rows, p.out))
        self.params = params

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The swapped prediction loss, near ln(prototypes) at the start; "std" near 0: collapsed
        outputs."""
        views = order_views(batch.views)
        z = F.normalize(
            at_least_float32(
                project(self.projector, by_size(self.backbone, views), joined_kinds(views))
            ),
            dim=1,
        )
        with torch.autocast(z.device.type, enabled=False):
            weight = self._unit_prototypes(batch)
            scores = list((z @ weight.T).chunk(len(views)))
            codes = self._codes(
                scores[:2], z.detach().chunk(len(views))[:2], weight.detach(), batch
            )
            loss = swapped_loss(scores, codes, self.params.temperature)
        return {"loss": loss, "std": output_std(z[: len(views[0].images)])}

    def _unit_prototypes(self, batch: Batch) -> Tensor:
        """(K, out), set to unit length first. While they are frozen their gradient is zero, not
        absent, which every device can add up; weight decay then changes their length alone, which
        is set again."""
        weight = self.prototypes.weight
        with torch.no_grad():
            weight.copy_(F.normalize(weight, dim=1))
        frozen = batch.step * self.params.epochs < self.params.freeze_epochs * batch.total_steps
        return weight.detach() + 0.0 * weight if frozen else weight

    @torch.no_grad()
    def _codes(
        self, scores: list[Tensor], z: tuple[Tensor, ...], weight: Tensor, batch: Batch
    ) -> list[Tensor]:
        """(B, K) of each global view. Queue rows, once there are enough, take part in the
        assignment and are dropped; then this batch's rows enter the queue."""
        p, codes = self.params, []
        rank, ranks = rank_and_size()
        rows = len(z[0]) * ranks
        since = batch.step - p.queue_from_epoch * (batch.total_steps // p.epochs)
        full = p.queue_rows > 0 and since * rows >= p.queue_rows
        for i, own in enumerate(scores):
            every = (
                torch.cat([own.detach(), self.queue[i, rank::ranks] @ weight.T])
                if full
                else own.detach()
            )
            codes.append(sinkhorn(every, p.eps, p.iterations)[: len(own)])
        if p.queue_rows > 0 and since >= 0:
            newest = torch.stack([gather_rows(one) for one in z])
            self.queue.copy_(torch.cat([newest, self.queue], dim=1)[:, : p.queue_rows])
        return codes

    def embed(self, images: Tensor) -> Tensor:
        """Normalised projections, which the prototypes are compared with; call in eval mode."""
        return F.normalize(project(self.projector, self.backbone(images)), dim=1)
