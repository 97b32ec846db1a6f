"""Object discovery's stage of region features, and the tables that its workers share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contracts.context import StageContext
from bench.contracts.images import ImageSet
from bench.core.errors import BadInput
from bench.core.files import write_json
from bench.views.augment import normalise
from bench.views.loader import crop_resize
from methods.proposals.object_discovery.discovery import (
    containers,
    hough_confidence,
    pair_stand_out,
)
from methods.ssl.orl.stages import _filtered, _network

CHUNK = 16  # images per forward, and between two points from which a killed stage goes on
BLANK = 1e-6  # a feature vector this short has no direction


def regions(ctx: StageContext) -> None:
    """Leaves the candidate regions of N images, R in all, as arrays that workers map into memory:
    `ids.npy` (N,), `sizes.npy` (N, 2) width and height, `first.npy` (N + 1,), `boxes.npy` (R, 4)
    float32 xyxy pixels and `features.npy` (R, D) float16, unit rows. A killed stage goes on after
    its last whole chunk."""
    images = ctx.images("data", str(ctx.params["split"]))
    boxes = _filtered(ctx, images)
    first = np.cumsum([0, *map(len, boxes)], dtype=np.int64)
    network, device = _network(ctx, len(images))
    projection = projection_matrix(ctx, int(network.backbone.feature_dim)).to(device)  # type: ignore[arg-type]
    features, done = _opened(ctx, (int(first[-1]), projection.shape[1]))
    advance = ctx.progress.task("region features", len(images), done)
    for start in range(done, len(images), CHUNK):
        stop = min(start + CHUNK, len(images))
        found = region_features(
            network.backbone, images, range(start, stop), boxes, ctx.params, projection
        )
        features[first[start] : first[stop]] = found
        features.flush()
        write_json(ctx.scratch / "done.json", stop)
        advance(stop - start)
    tables = {"ids": np.asarray(images.ids), "sizes": np.asarray(images.sizes), "first": first}
    for name, table in (tables | {"boxes": np.concatenate(boxes).astype(np.float32)}).items():
        np.save(ctx.work / f"{name}.npy", table)
    write_json(ctx.work / "info.json", {"images": len(images), "regions": int(first[-1])})


def projection_matrix(ctx: StageContext, channels: int) -> Tensor:
    """(channels x grid^2, dim) float32 Gaussian from the stage's seed: a random projection, which
    keeps cosines to about 1 / sqrt(dim) (Johnson and Lindenstrauss 1984) at a fraction of the
    space."""
    inputs, outputs = channels * int(ctx.params["grid"]) ** 2, int(ctx.params["dim"])
    rng = np.random.default_rng(ctx.seed("projection"))
    return torch.from_numpy(rng.standard_normal((inputs, outputs), np.float32))


@torch.inference_mode()
def region_features(
    backbone: nn.Module,
    images: ImageSet,
    part: range,
    boxes: list[np.ndarray],
    params: Mapping[str, Any],
    projection: Tensor,
) -> np.ndarray:
    """(regions of the images `part`, dim) float16: C5 of the image at size x size, RoIAlign to
    grid x grid cells, projected, at unit length; zeros where the map is blank (a flat image
    without biases)."""
    from torchvision.ops import roi_align

    size, device = int(params["size"]), projection.device
    pictures = [images.image(i) for i in part]
    whole = [crop_resize(p, (0, 0, p.shape[1], p.shape[0]), size) for p in pictures]
    maps = backbone.maps(normalise(torch.stack(whole).to(device).float().div_(255)))  # type: ignore[operator]
    shares = [
        torch.from_numpy(boxes[i] / np.array([p.shape[1], p.shape[0]] * 2)).float().to(device)
        * size
        for i, p in zip(part, pictures, strict=True)
    ]
    pooled = roi_align(
        maps, shares, int(params["grid"]), maps.shape[-1] / size, aligned=True
    ).flatten(1)
    found = F.normalize(pooled, dim=1) @ projection
    found = torch.where(pooled.norm(dim=1, keepdim=True) > BLANK, F.normalize(found, dim=1), 0.0)
    return found.cpu().numpy().astype(np.float16)


def _opened(ctx: StageContext, shape: tuple[int, int]) -> tuple[np.memmap, int]:
    """features.npy on the disk, and how many images an earlier try finished."""
    file, marker = ctx.work / "features.npy", ctx.scratch / "done.json"
    try:
        found = np.lib.format.open_memmap(file, "r+")
        if found.shape == shape:
            return found, int(json.loads(marker.read_text()))
    except (OSError, ValueError):
        pass  # nothing there, or torn: from the start
    return np.lib.format.open_memmap(file, "w+", np.float16, shape), 0


@dataclass(frozen=True)
class Regions:
    """Candidate regions and neighbours by position in the image set."""

    ids: np.ndarray
    sizes: np.ndarray
    first: np.ndarray
    all_boxes: np.ndarray
    all_features: np.ndarray
    neighbours: np.ndarray  # (N, K) positions, most similar first

    def boxes(self, i: int) -> np.ndarray:
        """(n, 4) float32 xyxy, n >= 1."""
        return self.all_boxes[self.first[i] : self.first[i + 1]]

    def features(self, i: int) -> np.ndarray:
        """(n, D) float64 unit rows."""
        return self.all_features[self.first[i] : self.first[i + 1]].astype(np.float64)

    def size(self, i: int) -> tuple[float, float]:
        """Width and height."""
        return float(self.sizes[i, 0]), float(self.sizes[i, 1])


@lru_cache(maxsize=2)
def load_regions(regions: Path, neighbours: Path) -> Regions:
    """The tables of two committed stages, mapped into memory once a process."""
    names = ("ids", "sizes", "first", "boxes", "features")
    ids, *rest = (np.load(regions / f"{name}.npy", mmap_mode="r") for name in names)
    with np.load(neighbours / "neighbours.npz") as file:
        rows, near = _positions(file["ids"], ids), _positions(ids, file["neighbour_ids"])
    return Regions(ids, *rest, near[rows])


def _positions(table: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where the ids `wanted` lie in `table`; BadInput if one does not."""
    order = np.argsort(table, kind="stable")
    at = np.minimum(np.searchsorted(table, wanted, sorter=order), len(table) - 1)
    if not np.array_equal(table[order[at]], wanted):
        raise BadInput("region features and neighbours were made from other images; use --force")
    return order[at]


def match(
    found: Regions, i: int, cells: int, area_ratio: float, pairs: bool
) -> tuple[np.ndarray, np.ndarray]:
    """How well the regions of image i match its neighbours': saliency and confidence, (n,) float64
    each.

    A region's confidence is sum_j max_l C_kl over the neighbours j and their regions l, its
    saliency the same of the stand-out scores S_kl (`pairs`) or the confidence itself. C is the sum
    of both directions, per number of matches, as in the code of Vo et al. 2019.
    """
    mine, boxes, size = found.features(i), found.boxes(i), found.size(i)
    inside = containers(boxes, area_ratio)
    saliency, total = np.zeros(len(boxes)), np.zeros(len(boxes))
    for j in found.neighbours[i]:
        similar = mine @ found.features(j).T
        theirs, other = found.boxes(j), found.size(j)
        confidence = hough_confidence(similar, boxes, theirs, size, other, cells)
        confidence += hough_confidence(similar.T, theirs, boxes, other, size, cells).T
        confidence /= confidence.size
        total += confidence.max(1)
        if pairs:
            confidence = pair_stand_out(confidence, inside, containers(theirs, area_ratio))
        saliency += confidence.max(1)
    return saliency, total
