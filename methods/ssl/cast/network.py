"""CAST's networks and losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contracts.network import Batch
from bench.nn.byol import output_std
from bench.nn.contrastive import at_least_float32, info_nce
from bench.nn.distributed import gather_rows, mean_divisor
from bench.nn.heads import project
from bench.nn.momentum import Encoded, QueryKey
from bench.nn.queue import KeyQueue, queue_length
from methods.ssl.cast.params import CastParams
from methods.ssl.moco_v2.network import head


class CastNetwork(QueryKey):
    """Backbone and head, the key encoder and one queue. The head has no batch norm, so that an
    image's Grad-CAM depends on that image's feature map alone."""

    def __init__(self, params: CastParams, n_images: int, heads: int = 1) -> None:
        p = params
        super().__init__(
            p.backbone,
            lambda inputs: make_head(inputs, p.hidden, p.dim),
            p.ema,
            p.shuffle,
            p.bn_groups,
            heads,
            p.init,
        )
        self.params_ = p
        self.queue = KeyQueue(queue_length(p.queue, n_images, p.batch_size), p.dim)

    def encode(
        self, nets: Mapping[str, nn.Module], images: Tensor, objects: Tensor | None
    ) -> Encoded:
        """Unit vectors (B, dim) and the last feature maps (B, C, h, w) that they come from."""
        maps = nets["backbone"].maps(images)  # type: ignore[operator]
        return F.normalize(project(nets["projector"], maps.mean((2, 3)), objects), dim=1), maps

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """(w1 L_image + w2 L_attention) / (w1 + w2), each the mean over its pairs (small views
        have the image loss alone); "salient": the share of salient pixels in view 1. The plain
        keys, not the masked, are enqueued after that."""
        p, views, salient = self.params_, batch.views, batch.extra["salient"]
        contrast = self.contrast(views, p.symmetric)
        negatives = self.queue.negatives()
        image = torch.stack(
            [info_nce(q[0], k[0], negatives, p.tau) for q, k in contrast.pairs]
        ).mean()
        attention = [
            self._attention(contrast.pairs[0][0], views["view2"], salient[:, 0], salient[:, 1])
        ]
        if p.symmetric:
            other = contrast.pairs[len(contrast.pairs) // 2][0]
            attention.append(self._attention(other, views["view1"], salient[:, 1], salient[:, 0]))
        if self.training:
            for k, _ in contrast.keys:
                self.queue.enqueue(gather_rows(k))
        parts = {"image": image, "attention": torch.stack(attention).mean()}
        total = p.lambda_image * parts["image"] + p.lambda_attention * parts["attention"]
        return {
            "loss": total / (p.lambda_image + p.lambda_attention),
            **parts,
            "salient": salient[:, 0].float().mean(),
            "std": output_std(contrast.pairs[0][0][0]),
        }

    def _attention(self, query: Encoded, key: Any, where: Tensor, key_where: Tensor) -> Tensor:
        """`attention_loss` of the query view's map, for the key view with the mean colour where it
        is not salient."""
        masked = key.images * key_where.unsqueeze(1).to(key.images.dtype)
        target = self.key(masked, key.objects)[0]
        similar = (at_least_float32(query[0]) * target.detach()).sum()
        (gradient,) = torch.autograd.grad(similar, query[1], create_graph=True)
        return attention_loss(query[1], gradient, where, self.params_.attention)

    def embed(self, images: Tensor) -> Tensor:
        """Query projections, unit vectors; call in eval mode."""
        return self.query(images)[0]


def make_head(inputs: int, hidden: int, outputs: int) -> nn.Module:
    """One linear layer, or MoCo v2's two with ReLU between them; (B, inputs) -> (B, outputs)."""
    return head(inputs, hidden, outputs) if hidden else nn.Linear(inputs, outputs)


def attention_loss(maps: Tensor, gradient: Tensor, where: Tensor, reading: str) -> Tensor:
    """1 - cos(G, M), the mean over images with a salient pixel, 0 if there is none.

    maps, gradient: (B, C, h, w), the query's last feature map A and the gradient of its similarity
    s to the masked key. G = ReLU(sum_c a_c A_c), a_c = mean over h, w of ds/dA_c (Selvaraju et al.
    2017, equations 1 and 2). where: (B, H, W), 1 where the query view is salient; M is its mean
    over each cell of the map. "batch_code": G without ReLU, scaled to 0..1 in each image, M read
    off at h x w points from corner to corner (bilinear), and one cosine of all images' cells
    together.
    """
    with torch.autocast(maps.device.type, enabled=False):
        values, slope = at_least_float32(maps), at_least_float32(gradient)
        cam = (slope.mean((2, 3), keepdim=True) * values).sum(1).flatten(1)
        cells = (maps.shape[-2], maps.shape[-1])
        mask = shrink_mask(where.unsqueeze(1).to(cam.dtype), cells, reading).flatten(1)
        there = mask.sum(1) > 0
        if reading == "image_paper":
            cosine = F.cosine_similarity(cam.relu(), mask, dim=1)
            return ((1 - cosine) * there).sum() / mean_divisor(there.sum())
        cam = cam - cam.amin(1, keepdim=True)
        cam = cam / (cam.amax(1, keepdim=True) + 1e-7) * there[:, None]
        return (1 - F.cosine_similarity(cam.flatten(), mask.flatten(), dim=0)) * there.any()


def shrink_mask(mask: Tensor, cells: tuple[int, int], reading: str) -> Tensor:
    """(B, 1, H, W) -> (B, 1, h, w): the mean over each cell, or for "batch_code" bilinear samples
    at points, the outermost at the mask's corner pixels, as the published data set shrinks it."""
    if reading == "batch_code":
        return F.interpolate(mask, cells, mode="bilinear", align_corners=True)
    return F.adaptive_avg_pool2d(mask, cells)
