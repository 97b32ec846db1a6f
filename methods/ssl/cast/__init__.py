"""CAST: momentum contrast on crops that hold something salient, and a Grad-CAM that should look at
it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contracts.method import Method
from bench.contracts.network import Batch, Network
from bench.contracts.views import Augment, Sample, Source, Viewer
from bench.core.params import param
from bench.core.picture import contact_sheet
from bench.core.stage import Stage
from bench.nn.byol import output_std
from bench.nn.contrastive import at_least_float32, info_nce
from bench.nn.distributed import gather_rows, mean_divisor
from bench.nn.heads import project
from bench.nn.momentum import Encoded, QueryKey
from bench.nn.queue import KeyQueue, queue_length
from methods.ssl._moco import SMALL, TINY, MocoParams
from methods.ssl.cast.saliency import load_masks
from methods.ssl.cast.views import CastViews
from methods.ssl.moco_v2 import head

if TYPE_CHECKING:
    from bench.contracts.images import ImageSet
    from bench.contracts.planner import Planner

AUGMENT = Augment(p_jitter=0.5, jitter=(0.4, 0.4, 0.4, 0.4), p_grey=0.2)


class CastParams(MocoParams):
    """Defaults: CAST's published training script (COCO, 200 epochs)."""

    epochs: int = param(200, ge=1, help="passes over the crop's samples")
    lr: float = param(
        0.5, gt=0, help="for 256 images; scaled by batch_size/256", search=["log", 1e-3, 1.0]
    )
    grad_clip: float = param(2.0, ge=0, help="gradient norm limit; 0: none")
    tau: float = param(
        0.07, gt=0, help="temperature (MoCo version 1's)", search=["log", 0.05, 1.0]
    )
    hidden: int = param(
        0, ge=0, help="hidden width of the head; 0: one linear layer (MoCo version 1)"
    )
    saliency: Literal["boundary", "spectral_residual", "fine_grained"] = param(
        "boundary",
        help="unsupervised saliency in place of DeepUSPS: contrast of colours with the image's "
        "border, or one of OpenCV's maps; above Otsu's threshold is salient",
    )
    saliency_side: int = param(
        256, ge=16, help="images are shrunk to this longer side for saliency, pixels"
    )
    cover: float = param(
        0.2,
        ge=0,
        le=1,
        help="least share of the salient pixels in a crop, less where they are too many",
    )
    lambda_image: float = param(
        1.0, ge=0, help="weight of the contrastive loss, over the sum of weights"
    )
    lambda_attention: float = param(
        3.0, ge=0, help="weight of the attention loss, over the sum of weights"
    )
    attention: Literal["image_paper", "batch_code"] = param(
        "image_paper",
        help="image_paper: cosine per image of the rectified Grad-CAM; batch_code: of each "
        "map scaled to 0..1 without rectifying, one cosine over the whole batch",
    )


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
        found = self.contrast(views, p.symmetric)
        negatives = self.queue.negatives()
        image = torch.stack(
            [info_nce(q[0], k[0], negatives, p.tau) for q, k in found.pairs]
        ).mean()
        attention = [
            self._attention(found.pairs[0][0], views["view2"], salient[:, 0], salient[:, 1])
        ]
        if p.symmetric:
            other = found.pairs[len(found.pairs) // 2][0]
            attention.append(self._attention(other, views["view1"], salient[:, 1], salient[:, 0]))
        if self.training:
            for k, _ in found.keys:
                self.queue.enqueue(gather_rows(k))
        parts = {"image": image, "attention": torch.stack(attention).mean()}
        total = p.lambda_image * parts["image"] + p.lambda_attention * parts["attention"]
        return {
            "loss": total / (p.lambda_image + p.lambda_attention),
            **parts,
            "salient": salient[:, 0].float().mean(),
            "std": output_std(found.pairs[0][0][0]),
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
    over each cell of the map. "batch_code": G without ReLU, scaled to 0..1 in each image, and one
    cosine of all images' cells together.
    """
    with torch.autocast(maps.device.type, enabled=False):
        values, slope = at_least_float32(maps), at_least_float32(gradient)
        cam = (slope.mean((2, 3), keepdim=True) * values).sum(1).flatten(1)
        mask = F.adaptive_avg_pool2d(where.unsqueeze(1).to(cam.dtype), maps.shape[-2:]).flatten(1)
        there = mask.sum(1) > 0
        if reading == "image_paper":
            cosine = F.cosine_similarity(cam.relu(), mask, dim=1)
            return ((1 - cosine) * there).sum() / mean_divisor(there.sum())
        cam = cam - cam.amin(1, keepdim=True)
        cam = cam / (cam.amax(1, keepdim=True) + 1e-7) * there[:, None]
        return (1 - F.cosine_similarity(cam.flatten(), mask.flatten(), dim=0)) * there.any()


class Cast(Method):
    """Contrastive Attention-Supervised Tuning (Selvaraju et al. 2021) on momentum contrast.

    Both crops hold at least a share phi = min(.2, least crop area / salient area) of the image's
    salient pixels. L = (L_contrast + 3 L_attention) / 4, L_attention = 1 - cos(G, M): M is the
    query view's saliency, G the Grad-CAM on its last feature map of q . k_m, the similarity to the
    key view with all that is not salient removed. The gradient of L flows through G, so the step
    differentiates twice.
    Paper 001, Table 4, quotes it on COCO: box AP 39.4, mask AP 35.8 (Mask R-CNN R50-FPN 2x).

    The saliency is not the authors' DeepUSPS, a network, but a map of ours (the stage `saliency`),
    so numbers are not theirs. `boundary`, the contrast of colours with the image's border, agrees
    with object masks at a mean average precision of pixels of .95 on 60 scenes and .57 on 98
    photographs of VOC 2012 (its masks: precision .95 and .57, recall .68 and .51). OpenCV's
    spectral residual has .71 and .43, its fine-grained map .68 and .39, chance .22 and .22. Robust
    background detection on superpixels has .81 and .61, at four times the cost; a centre prior
    helps on photographs (.63) but would pull the crops themselves inwards.

    Not followed of the code: it moves the key encoder twice a step, takes greyscale before jitter,
    and draws another image where nothing is salient; here such an image has a plain crop and no
    attention loss.
    """

    Params = CastParams
    params: CastParams
    scales = {
        "tiny": {**TINY, "hidden": 0},
        "small": {**SMALL, "hidden": 0},
    }

    def stages(self, plan: Planner, data: Stage) -> dict[str, Stage]:
        settings = {
            "split": "train",
            "map": self.params.saliency,
            "max_side": self.params.saliency_side,
        }
        made = Stage(
            "saliency",
            self.params.saliency,
            1,
            settings,
            "methods.ssl.cast.saliency:masks",
            {"data": data},
        )
        return {"saliency": made}

    def viewer(self, images: ImageSet, inputs: dict[str, Path]) -> Viewer:
        p, masks = self.params, load_masks(inputs["saliency"], images)
        return CastViews(
            masks, np.asarray(images.sizes), p.image_size, (p.min_scale, 1.0), AUGMENT, p.cover
        )

    def network(self, n_images: int, heads: int = 1) -> Network:
        return CastNetwork(self.params, n_images, heads)

    def inspect(self, images: ImageSet, inputs: dict[str, Path]) -> dict[str, object]:
        """Eight images, a row each: the image, then both views, darker where they are not salient."""
        viewer = self.viewer(images, inputs)
        rows = []
        for i in map(int, np.linspace(0, len(images) - 1, min(8, len(images)))):
            sample = viewer([Source(i), Source(i)], np.random.default_rng(i))
            rows.append([images.image(i), *_pictures(images.image(i), sample)])
        return {"saliency": contact_sheet(rows)}


def _pictures(image: np.ndarray, sample: Sample) -> list[np.ndarray]:
    from bench.views.loader import crop_resize

    pictures = []
    for spec, mask in zip(sample.views, sample.extra["salient"], strict=True):
        assert spec.box is not None
        view = crop_resize(image, spec.box, spec.size).permute(1, 2, 0).numpy()
        view = view[:, ::-1] if spec.flip else view
        pictures.append(np.where(mask[..., None] == 1, view, view // 3))
    return pictures
