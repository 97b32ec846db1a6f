"""DenseCL's networks and loss."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contracts.network import Batch
from bench.nn.byol import output_std
from bench.nn.contrastive import correspondence, dense_info_nce, info_nce
from bench.nn.distributed import gather_rows
from bench.nn.heads import make_head, project
from bench.nn.momentum import Encoded, QueryKey
from bench.nn.queue import KeyQueue, queue_length
from methods.ssl.densecl.params import DenseclParams


class DenseclNetwork(QueryKey):
    """Backbone, a global head on pooled features, a dense head on C5, and a queue for each."""

    def __init__(self, params: DenseclParams, n_images: int, heads: int = 1) -> None:
        p = params
        super().__init__(
            p.backbone,
            lambda inputs: global_head(inputs, p.hidden, p.dim),
            p.ema,
            p.shuffle,
            p.bn_groups,
            heads,
            p.init,
        )
        self.add("dense", make_head(lambda: dense_head(self.feature_dim, p.hidden, p.dim), heads))
        length = queue_length(p.queue, n_images, p.batch_size)
        self.queue, self.dense_queue = KeyQueue(length, p.dim), KeyQueue(length, p.dim)
        self.params = params

    def encode(
        self, nets: Mapping[str, nn.Module], images: Tensor, objects: Tensor | None
    ) -> Encoded:
        """Unit vectors (B, dim), of S cells (B, dim, S), and pooled over cells, then normalised
        (B, dim); and the features to match (B, C, S)."""
        maps = nets["backbone"].maps(images)  # type: ignore[operator]
        whole = project(nets["projector"], maps.mean((2, 3)), objects)
        cells = project(nets["dense"], maps, objects).flatten(2)
        pooled = F.normalize(cells.mean(2), dim=1)
        unit = F.normalize(cells, dim=1)
        matched = maps.flatten(2) if self.params.match_on == "backbone" else unit
        return F.normalize(whole, dim=1), unit, pooled, matched

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """(1 - l) L_global + l L_dense, each the mean of InfoNCE over the pairs of `contrast`; the
        keys are enqueued after that (train mode)."""
        p = self.params
        contrast = self.contrast(batch.views, p.symmetric)
        negatives, dense_negatives = self.queue.negatives(), self.dense_queue.negatives()
        whole, dense = [], []
        for query, key in contrast.pairs:
            whole.append(info_nce(query[0], key[0], negatives, p.tau))
            match = correspondence(query[3], key[3])
            dense.append(dense_info_nce(query[1], key[1], match, dense_negatives, p.tau))
        if self.training:
            self._enqueue(contrast.keys)
        parts = {"global": torch.stack(whole).mean(), "dense": torch.stack(dense).mean()}
        weight = p.lambda_dense if batch.step >= p.lambda_warmup_iters else 0.0
        total = (1 - weight) * parts["global"] + weight * parts["dense"]
        return {"loss": total, **parts, "std": output_std(contrast.pairs[0][0][0])}

    def _enqueue(self, keys: list[Encoded]) -> None:
        for whole, cells, pooled, _ in keys:
            self.queue.enqueue(gather_rows(whole))
            rows = pooled if self.params.neg == "pooled" else cells.transpose(1, 2).flatten(0, 1)
            self.dense_queue.enqueue(gather_rows(rows))

    def embed(self, images: Tensor) -> Tensor:
        """Global query projections, unit vectors; call in eval mode."""
        return self.query(images)[0]


def global_head(inputs: int, hidden: int, outputs: int) -> nn.Module:
    """Linear - ReLU - Linear; (B, inputs) -> (B, outputs)."""
    return kaiming(
        nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, outputs))
    )


def dense_head(inputs: int, hidden: int, outputs: int) -> nn.Module:
    """1x1 convolution - ReLU - 1x1 convolution, no batch norm; (B, inputs, H, W) -> (B, outputs,
    H, W)."""
    return kaiming(
        nn.Sequential(
            nn.Conv2d(inputs, hidden, 1), nn.ReLU(inplace=True), nn.Conv2d(hidden, outputs, 1)
        )
    )


def kaiming(module: nn.Module) -> nn.Module:
    """`module` with Kaiming-normal weights (fan-in) and zero biases, as OpenSelfSup starts its
    heads."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return module
