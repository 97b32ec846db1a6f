"""MoCo v2: tell a view's key from a queue of other images' keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contracts.method import Method
from bench.contracts.network import Batch, Network
from bench.contracts.views import Viewer
from bench.nn.byol import output_std
from bench.nn.contrastive import info_nce
from bench.nn.distributed import gather_rows
from bench.nn.heads import project
from bench.nn.momentum import Encoded, QueryKey
from bench.nn.queue import KeyQueue, queue_length
from methods.ssl._moco import SMALL, TINY, MocoParams, MocoViews

if TYPE_CHECKING:
    from bench.contracts.images import ImageSet


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
        found = self.contrast(batch.views, self.symmetric)
        negatives = self.queue.negatives()
        losses = [info_nce(q, k, negatives, self.tau) for (q,), (k,) in found.pairs]
        if self.training:
            for (k,) in found.keys:
                self.queue.enqueue(gather_rows(k))
        return {"loss": torch.stack(losses).mean(), "std": output_std(found.pairs[0][0][0])}

    def embed(self, images: Tensor) -> Tensor:
        """Query projections, unit vectors; call in eval mode."""
        return self.query(images)[0]


def head(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Linear - ReLU - Linear with biases and PyTorch's initialisation; (B, inputs) -> (B,
    outputs)."""
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, outputs)
    )


class MocoV2(Method):
    """Momentum Contrast v2 (Chen et al. 2020), as papers 000, 002 and 003 train it on COCO.

    L = -log [exp(q k+ / tau) / (exp(q k+ / tau) + sum_j exp(q m_j / tau))], the mean over the
    batch, with q = g(f(x1)), k+ = g'(f'(x2)) and m_j the K keys in the queue, all of unit length;
    f', g' are the moving averages of f, g. The keys of a step are enqueued after its logits.
    Defaults: SGD, rate .3 at 256 images, weight decay 1e-4 on everything, 800 epochs, cosine per
    epoch, no warm-up, tau .2, K 65536. Paper 002,
    table 4: COCO box AP 38.5 (Mask R-CNN R50-FPN 1x, 800 epochs on COCO).
    """

    Params = MocoParams
    params: MocoParams
    scales = {"tiny": TINY, "small": SMALL}

    @classmethod
    def peer(cls) -> Callable[..., Any]:
        from methods.ssl._lightly import moco

        return moco

    def viewer(self, images: ImageSet, inputs: dict[str, Path]) -> Viewer:
        return MocoViews(self.params.image_size, (self.params.min_scale, 1.0))

    def network(self, n_images: int, heads: int = 1) -> Network:
        return MocoNetwork(self.params, n_images, heads)
