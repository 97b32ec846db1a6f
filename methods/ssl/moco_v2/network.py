"""MoCo v2's networks and loss."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contracts.network import Batch
from bench.nn.byol import output_std
from bench.nn.contrastive import info_nce
from bench.nn.distributed import gather_rows
from bench.nn.heads import project
from bench.nn.momentum import Encoded, QueryKey
from bench.nn.queue import KeyQueue, queue_length
from methods.ssl.moco_v2.params import MocoParams


class MocoNetwork(QueryKey):
    """Backbone and a two-layer head without batch norm, the key encoder, one queue for all kinds
    of views."""

    def __init__(self, params: MocoParams, n_images: int, heads: int = 1) -> None:
        p = params
        super().__init__(
            p.backbone,
            lambda inputs: head(inputs, p.hidden, p.dim),
            p.ema,
            p.shuffle,
            p.bn_groups,
            heads,
            p.init,
        )
        self.tau, self.symmetric = p.tau, p.symmetric
        self.queue = KeyQueue(queue_length(p.queue, n_images, p.batch_size), p.dim)

    def encode(
        self, nets: Mapping[str, nn.Module], images: Tensor, objects: Tensor | None
    ) -> Encoded:
        """((B, dim),): unit vectors."""
        return (F.normalize(project(nets["projector"], nets["backbone"](images), objects), dim=1),)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The mean of InfoNCE over the pairs of `contrast`; the keys are enqueued after that
        (train mode)."""
        contrast = self.contrast(batch.views, self.symmetric)
        negatives = self.queue.negatives()
        losses = [info_nce(q, k, negatives, self.tau) for (q,), (k,) in contrast.pairs]
        if self.training:
            for (k,) in contrast.keys:
                self.queue.enqueue(gather_rows(k))
        return {"loss": torch.stack(losses).mean(), "std": output_std(contrast.pairs[0][0][0])}

    def embed(self, images: Tensor) -> Tensor:
        """Query projections, unit vectors; call in eval mode."""
        return self.query(images)[0]


def head(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Linear - ReLU - Linear with biases and PyTorch's initialisation; (B, inputs) -> (B,
    outputs)."""
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, outputs)
    )
