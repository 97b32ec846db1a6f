"""CCOP's networks and loss."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contracts.network import Batch
from bench.nn.byol import output_std
from bench.nn.contrastive import info_nce
from bench.nn.distributed import draw_uneven, gather_rows, gather_uneven
from bench.nn.fpn import build_fpn, level_of, pool_rois, stage_maps
from bench.nn.heads import project
from bench.nn.momentum import Encoded, QueryKey
from bench.nn.queue import KeyQueue, queue_length
from bench.nn.split_norm import split_batch_norm
from methods.ssl.ccop.losses import hardest, intra_loss
from methods.ssl.ccop.noise import candidates, curriculum
from methods.ssl.ccop.params import CcopParams

POOL = 7  # side of an RoI's features


class CcopNetwork(QueryKey):
    """Query and key networks: backbone, FPN, image head ("projector") on pooled C5, RoI head on
    P2..P5; two queues.

    With two heads asked for, the image head is one for each kind of view; RoIs are objects in any
    view.
    """

    projector: nn.Module
    roi_head: nn.Module
    key_roi_head: nn.Module

    def __init__(self, params: CcopParams, n_images: int, heads: int = 1) -> None:
        p = self.p = params
        super().__init__(
            p.backbone,
            lambda inputs: make_mlp(inputs, p.hidden, p.out, p.dropout),
            p.ema,
            "shuffle_bn",
            p.bn_groups,
            heads,
            p.init,
        )
        self.add("fpn", split_batch_norm(build_fpn(self.feature_dim, p.fpn_width), p.bn_groups))
        self.add("roi_head", make_mlp(p.fpn_width * POOL**2, p.hidden, p.out, p.dropout))
        length = queue_length(p.queue, n_images, p.batch_size)
        self.image_queue = KeyQueue(length, p.out)
        self.roi_queue = KeyQueue(length, p.out, p.queue_overflow)

    def encode(
        self, nets: Mapping[str, nn.Module], images: Tensor, objects: Tensor | None
    ) -> Encoded:
        """Unit vectors (B, out) of the images, then P2..P5, (B, fpn_width, ., .) each."""
        maps = stage_maps(nets["backbone"], images)  # type: ignore[arg-type]
        whole = project(nets["projector"], maps["c5"].mean((2, 3)), objects)
        return _unit(whole), *nets["fpn"](maps).values()

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """L = l1 L_image + l2 L_roi + l3 L_intra (equation 4); "boxes": RoIs per image.

        Small views are further queries of the image loss, against the key of view 2. The keys are
        enqueued after that (train mode).
        """
        p, contrast = self.p, self.contrast(batch.views)
        boxes, real, row = _unpad(batch)
        size = batch.views["view1"].images.shape[-1]
        query, key = contrast.pairs[0]
        rois = self._rois(query, boxes[:, 0][real], row, size, self.roi_head)
        with torch.no_grad():
            roi_keys, allowed = self._keys(key, boxes[:, 1][real], row, batch)
            hardest_keys = hardest(rois, roi_keys, allowed)
        negatives, roi_negatives = self.image_queue.negatives(), self.roi_queue.negatives()
        image = torch.stack(
            [info_nce(q[0], k[0], negatives, p.tau) for q, k in contrast.pairs]
        ).mean()
        parts = {
            "image": image,
            "roi": info_nce(rois, hardest_keys, roi_negatives, p.tau, uneven=True),
        }
        both = (_pad(rois, real), _pad(roi_keys[:, -1], real))
        parts["intra"] = intra_loss(p.intra, p.alpha, *both, (boxes[:, 0], boxes[:, 1]), real)
        if self.training:
            self.image_queue.enqueue(gather_rows(key[0]))
            self.roi_queue.enqueue(gather_uneven(hardest_keys))
        weights = (p.lambda_image, p.lambda_roi, p.lambda_intra)
        total = sum(
            (w * part for w, part in zip(weights, parts.values(), strict=True)),
            image.new_zeros(()),
        )
        boxes_per_image = real.sum() / len(real)
        return {"loss": total, **parts, "std": output_std(query[0]), "boxes": boxes_per_image}

    def _keys(
        self, key: Encoded, boxes: Tensor, row: Tensor, batch: Batch
    ) -> tuple[Tensor, Tensor]:
        """(n, m + 1, D) keys of moved boxes and, last, the box itself, and which of them may be
        chosen, (n, m + 1)."""
        p, size = self.p, batch.views["view2"].images.shape[-1]
        noise = curriculum(batch.step / batch.total_steps, p.sncl, p.fixed_beta)
        draws = draw_uneven(
            lambda n: torch.rand(n, p.jitters, 4, device=boxes.device), len(boxes), boxes.device
        )
        moved, allowed = candidates(boxes, noise, draws * 2 - 1, size)
        many = row.repeat_interleave(p.jitters + 1)
        keys = self._rois(key, moved.flatten(0, 1), many, size, self.key_roi_head)
        return keys.view(len(boxes), p.jitters + 1, p.out), allowed

    def _rois(
        self, encoded: Encoded, boxes: Tensor, row: Tensor, size: int, head: nn.Module
    ) -> Tensor:
        """(n, D) unit embeddings of boxes (n, 4) of the batch's rows `row`, in views of `size`
        pixels."""
        features = pool_rois(encoded[1:], boxes, row, level_of(boxes, size), size, POOL)
        return _unit(head(features.flatten(1)))

    def embed(self, images: Tensor) -> Tensor:
        """The image head's outputs."""
        return project(self.projector, self.backbone(images))

    def embed_boxes(self, images: Tensor, boxes: Tensor) -> Tensor:
        """The RoI head's unit outputs; a box's level follows its share of the image, as in a
        view."""
        height, width = images.shape[2:]
        row = torch.zeros(len(boxes), dtype=torch.long, device=boxes.device)
        levels = level_of(boxes, round((height * width) ** 0.5))
        features = pool_rois(self.query(images)[1:], boxes, row, levels, width, POOL)
        return _unit(self.roi_head(features.flatten(1)))


def make_mlp(inputs: int, hidden: int, outputs: int, dropout: float) -> nn.Sequential:
    """Linear - dropout - ReLU - Linear, weights N(0, .01), no batch norm; (n, inputs) -> (n,
    outputs)."""
    first, last = nn.Linear(inputs, hidden), nn.Linear(hidden, outputs)
    for layer in (first, last):
        nn.init.normal_(layer.weight, std=0.01)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(first, RowDropout(dropout), nn.ReLU(inplace=True), last)


class RowDropout(nn.Module):
    """Dropout (n, D) -> (n, D) whose mask is drawn for the rows of all devices."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        noise = draw_uneven(lambda n: torch.rand(n, x.shape[1], device=x.device), len(x), x.device)
        return x * (noise >= self.p) / (1 - self.p)


def _unpad(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes (B, 2, M, 4), which of the M are real (B, M) bool, and the image row of each real one
    (n,)."""
    boxes, count = batch.extra["boxes"], batch.extra["box_count"]
    real = torch.arange(boxes.shape[2], device=boxes.device) < count[:, None]
    return boxes, real, real.nonzero()[:, 0]


def _pad(rows: Tensor, real: Tensor) -> Tensor:
    """(n, D) -> (B, M, D), zeros on padding."""
    padded = rows.new_zeros(*real.shape, rows.shape[1])
    padded[real] = rows
    return padded


def _unit(x: Tensor) -> Tensor:
    return F.normalize(x.float(), dim=1)
