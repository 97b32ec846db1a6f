"""ReSim's networks and loss."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contracts.network import Batch, Views
from bench.core.errors import BadInput
from bench.nn.byol import output_std
from bench.nn.contrastive import info_nce
from bench.nn.distributed import gather_rows, rank_and_size
from bench.nn.fpn import build_fpn, stage_maps, stride_of
from bench.nn.heads import project
from bench.nn.momentum import Encoded, QueryKey
from bench.nn.queue import KeyQueue, queue_length
from bench.nn.resnet import ResNetBackbone
from bench.nn.split_norm import group_count
from methods.ssl.moco_v2.network import head
from methods.ssl.resim.params import ResimParams
from methods.ssl.resim.windows import (
    average_windows,
    map_windows,
    pooled_cells,
    sliding_windows,
    window_loss,
)

# side and stride on a stage, pixels of a 224-pixel view
WINDOWS = {"c4": (48, 32), "c3": (32, 24)}


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
            p.init,
        )
        if not isinstance(self.backbone, ResNetBackbone):
            raise BadInput(
                f"resim slides windows over a ResNet's stages, got {p.backbone!r}; try: resnet50"
            )
        if p.variant == "fpn":
            fpn = build_fpn(self.feature_dim, p.region_dim, ("c3", "c4", "c5"), norm=False)
            blocks = fpn.get_submodule("layer_blocks")
            assert isinstance(blocks, nn.ModuleList)
            blocks[2] = nn.Identity()  # nothing reads P5
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
        maps = stage_maps(nets["backbone"], images)  # type: ignore[arg-type]
        whole = project(nets["projector"], maps["c5"].mean((2, 3)), objects)
        if self.params_.variant == "fpn":
            regions = nets["regions"]({name: maps[name] for name in ("c3", "c4", "c5")})
        else:
            regions = {"c4": nets["regions"](maps["c4"])}
        return F.normalize(whole, dim=1), *(regions[level] for level in self.levels)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """L_image + w (L_c4 + L_c3): the means over the pairs of `contrast` (small views have the
        image loss alone); "windows": the share of windows that both views show whole. Keys are
        enqueued after that."""
        p, views = self.params_, batch.views
        contrast = self.contrast(views, p.symmetric)
        negatives = self.queue.negatives()
        parts = {
            "image": _mean([info_nce(q[0], k[0], negatives, p.tau) for q, k in contrast.pairs])
        }
        large, ways = [contrast.pairs[0]], [(views["view1"], views["view2"])]
        if p.symmetric:
            large.append(contrast.pairs[len(contrast.pairs) // 2])
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
            for key in contrast.keys:
                self.queue.enqueue(gather_rows(key[0]))
        total = parts["image"] + p.lambda_region * sum(parts[level] for level in self.levels)
        return {
            "loss": total,
            **parts,
            "windows": _mean(shares),
            "std": output_std(contrast.pairs[0][0][0]),
        }

    def _windows(
        self, level: str, query: Tensor, key: Tensor, way: tuple[Views, Views]
    ) -> tuple[Tensor, Tensor]:
        """One direction's loss on one level, and which windows count. Negatives are the key maps'
        cells: on C4 those of every device's images, on C3 those of the query's own group of
        images."""
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
