"""ReSim: MoCo v2 on images and on windows that slide over what both views show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contracts.method import Method
from bench.contracts.network import Batch, Network, Views
from bench.contracts.views import Sample, Source, Viewer
from bench.core.errors import BadInput
from bench.core.params import param
from bench.nn.byol import output_std
from bench.nn.contrastive import info_nce
from bench.nn.distributed import gather_rows, rank_and_size
from bench.nn.heads import project
from bench.nn.momentum import Encoded, QueryKey
from bench.nn.queue import KeyQueue, queue_length
from bench.nn.split_norm import group_count
from methods.ssl._moco import SMALL, TINY, MocoParams, MocoViews
from methods.ssl.moco_v2 import head
from methods.ssl.resim.parts import (
    average_windows,
    map_windows,
    pooled_cells,
    sliding_windows,
    window_loss,
)

if TYPE_CHECKING:
    from bench.contracts.images import ImageSet

# side and stride on a stage, pixels of a 224-pixel view
WINDOWS = {"c4": (48, 32), "c3": (32, 24)}


class ResimParams(MocoParams):
    """Defaults: the published training script of ReSim-FPN (ImageNet, 200 epochs)."""

    epochs: int = param(
        200, ge=1, help="passes over the crop's samples (400 for the longer schedule)"
    )
    lr: float = param(
        0.03, gt=0, help="for 256 images; scaled by batch_size/256", search=["log", 1e-3, 1.0]
    )
    variant: Literal["fpn", "c4"] = param(
        "fpn",
        help="fpn: windows of 48 and 32 pixels on C4 and C3 of a feature pyramid; c4: of 48 pixels on "
        "a 3x3 convolution of C4 (our reading: the code of ReSim-C4 is not public)",
    )
    region_dim: int = param(256, ge=1, help="channels of the maps that windows are pooled from")
    lambda_region: float = param(1.0, ge=0, help="weight of each level's window loss")
    half_pixel: bool = param(
        False,
        help="map pixels lie at their centres when windows are pooled; the published PrRoIPool puts "
        "them at their corners",
    )


@dataclass(frozen=True)
class ResimViews:
    """MoCo v2's views, but one flip for both of them, as published."""

    plain: MocoViews

    def __call__(self, sources: list[Source], rng: np.random.Generator) -> Sample:
        flip = bool(rng.random() < 0.5)
        views = self.plain(sources, rng).views
        return Sample([replace(v, flip=flip) if v.role.startswith("view") else v for v in views])


class ResimNetwork(QueryKey):
    """MoCo v2's networks and, for windows, maps of C4 and C3 in each encoder: those of a feature
    pyramid whose features serve as they are, without a head. Windows have no queue."""

    def __init__(self, params: ResimParams, n_images: int, heads: int = 1) -> None:
        p = params
        super().__init__(
            p.backbone,
            lambda inputs: head(inputs, p.hidden, p.dim),
            p.ema,
            p.shuffle,
            p.bn_groups,
            heads,
        )
        from bench.nn.fpn import build_fpn
        from bench.nn.resnet import ResNetBackbone

        if not isinstance(self.backbone, ResNetBackbone):
            raise BadInput(
                f"resim slides windows over a ResNet's stages, got {p.backbone!r}; try: resnet50"
            )
        if p.variant == "fpn":
            fpn = build_fpn(self.feature_dim, p.region_dim, ("c3", "c4", "c5"), norm=False)
            fpn.layer_blocks[2] = nn.Identity()  # type: ignore[union-attr,operator]  # nothing reads P5
            self.add("regions", fpn)
        else:
            self.add("regions", nn.Conv2d(self.feature_dim // 2, p.region_dim, 3, padding=1))
        self.levels = ("c4", "c3") if p.variant == "fpn" else ("c4",)
        self.params_ = p
        self.queue = KeyQueue(queue_length(p.queue, n_images, p.batch_size), p.dim)

    def encode(
        self, nets: Mapping[str, nn.Module], images: Tensor, objects: Tensor | None
    ) -> Encoded:
        """Unit vectors (B, dim), then a map (B, region_dim, h, w) for each of `levels`."""
        from bench.nn.fpn import stage_maps

        maps = stage_maps(nets["backbone"], images)  # type: ignore[arg-type]
        whole = project(nets["projector"], maps["c5"].mean((2, 3)), objects)
        if self.params_.variant == "fpn":
            found = nets["regions"]({name: maps[name] for name in ("c3", "c4", "c5")})
        else:
            found = {"c4": nets["regions"](maps["c4"])}
        return F.normalize(whole, dim=1), *(found[level] for level in self.levels)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """L_image + w (L_c4 + L_c3): the means over the pairs of `contrast` (small views have the
        image loss alone); "windows": the share of windows that both views show whole. Keys are
        enqueued after that."""
        p, views = self.params_, batch.views
        found = self.contrast(views, p.symmetric)
        negatives = self.queue.negatives()
        parts = {"image": _mean([info_nce(q[0], k[0], negatives, p.tau) for q, k in found.pairs])}
        large, ways = [found.pairs[0]], [(views["view1"], views["view2"])]
        if p.symmetric:
            large.append(found.pairs[len(found.pairs) // 2])
            ways.append((views["view2"], views["view1"]))
        shares = []
        for at, level in enumerate(self.levels, 1):
            losses = []
            for (query, key), way in zip(large, ways, strict=True):
                loss, inside = self._windows(level, query[at], key[at], way)
                losses.append(loss)
                shares.append(inside.float().mean())
            parts[level] = _mean(losses)
        if self.training:
            for key in found.keys:
                self.queue.enqueue(gather_rows(key[0]))
        total = parts["image"] + p.lambda_region * sum(parts[level] for level in self.levels)
        return {
            "loss": total,
            **parts,
            "windows": _mean(shares),
            "std": output_std(found.pairs[0][0][0]),
        }

    def _windows(
        self, level: str, query: Tensor, key: Tensor, way: tuple[Views, Views]
    ) -> tuple[Tensor, Tensor]:
        """One direction's loss on one level, and which windows count. Negatives are the key maps'
        cells: on C4 those of every device's images, on C3 those of the query's own group of
        images."""
        from bench.nn.fpn import stride_of

        p, size = self.params_, way[0].images.shape[-1]
        windows = sliding_windows(*WINDOWS[level], size).to(query.device)
        places, inside = map_windows(windows, *way)
        here = windows.expand(len(query), -1, -1)
        q = average_windows(query, here, stride_of(query, size), p.half_pixel)
        k = average_windows(key, places, stride_of(key, way[1].images.shape[-1]), p.half_pixel)
        if level == "c4":
            negatives = [gather_rows(pooled_cells(key)).flatten(0, 1)]
        else:
            runs = group_count(p.bn_groups, len(key), rank_and_size()[1])
            negatives = [pooled_cells(part).flatten(0, 1) for part in key.tensor_split(runs)]
        return window_loss(q, k, inside, negatives, p.tau), inside

    def embed(self, images: Tensor) -> Tensor:
        """Query projections, unit vectors; call in eval mode."""
        return self.query(images)[0]


def _mean(values: list[Tensor]) -> Tensor:
    return torch.stack(values).mean()


class Resim(Method):
    """Region Similarity representation learning (Xiao et al. 2021): ReSim-FPN as its code trains
    it.

    L = L_image + L_C4 + L_C3. L_image is MoCo v2's. On C4 and C3 of a feature pyramid a window
    slides over the query view (48 pixels every 32; 32 every 24). Where the key view shows the same
    pixels whole, the window is pooled from both maps (precise RoI pooling, 1 x 1) and L is InfoNCE
    of the two unit vectors; its negatives are the 3 x 3-averaged cells of the batch's key maps,
    the image's own included. Both views have one flip. C4's negatives come from all devices, C3's
    from the query's own: here, its batch-norm group. Paper 000, Table 3, quotes ReSim-C4
    pretrained on ImageNet: COCO box AP 39.3, mask AP 35.7 (Mask R-CNN R50-FPN 1x), beside MoCo
    v2's 38.2 on COCO; the pyramid variant has no row in the four papers.
    """

    Params = ResimParams
    params: ResimParams
    scales = {
        "tiny": {**TINY, "region_dim": 64},
        "small": {**SMALL, "lr": 0.3, "region_dim": 128},
    }

    def viewer(self, images: ImageSet, inputs: dict[str, Path]) -> Viewer:
        return ResimViews(MocoViews(self.params.image_size, (self.params.min_scale, 1.0)))

    def network(self, n_images: int, heads: int = 1) -> Network:
        return ResimNetwork(self.params, n_images, heads)
