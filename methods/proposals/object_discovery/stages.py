"""Object discovery's stage of region features."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contracts.context import StageContext
from bench.contracts.images import ImageSet
from bench.core.files import write_json
from bench.core.ragged import offsets
from bench.stages.embed import open_network
from bench.stages.proposals import filter_proposals
from bench.views.augment import normalise
from bench.views.loader import crop_resize

CHUNK = 16  # images per forward, and between two points from which a killed stage goes on
BLANK = 1e-6  # a feature vector this short has no direction


def make_regions(ctx: StageContext) -> None:
    """Leaves the candidate regions of N images, R in all, as arrays that workers map into memory:
    `ids.npy` (N,), `sizes.npy` (N, 2) width and height, `first.npy` (N + 1,), `boxes.npy` (R, 4)
    float32 xyxy pixels and `features.npy` (R, D) float16, unit rows. A killed stage goes on after
    its last whole chunk."""
    images = ctx.images("data", str(ctx.params["split"]))
    boxes = filter_proposals(ctx, images)
    first = offsets(map(len, boxes))
    network, device = open_network(ctx, len(images))
    projection = projection_matrix(ctx, int(network.backbone.feature_dim)).to(device)  # type: ignore[arg-type]
    features, done = _open_features(ctx, (int(first[-1]), projection.shape[1]))
    advance = ctx.progress.task("region features", len(images), done)
    for start in range(done, len(images), CHUNK):
        stop = min(start + CHUNK, len(images))
        part = region_features(
            network.backbone, images, range(start, stop), boxes, ctx.params, projection
        )
        features[first[start] : first[stop]] = part
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
    projected = F.normalize(pooled, dim=1) @ projection
    projected = torch.where(
        pooled.norm(dim=1, keepdim=True) > BLANK, F.normalize(projected, dim=1), 0.0
    )
    return projected.cpu().numpy().astype(np.float16)


def _open_features(ctx: StageContext, shape: tuple[int, int]) -> tuple[np.memmap, int]:
    """features.npy on the disk, and how many images an earlier try finished."""
    file, marker = ctx.work / "features.npy", ctx.scratch / "done.json"
    try:
        features = np.lib.format.open_memmap(file, "r+")
        if features.shape == shape:
            return features, int(json.loads(marker.read_text()))
    except (OSError, ValueError):
        pass  # nothing there, or torn: from the start
    return np.lib.format.open_memmap(file, "w+", np.float16, shape), 0
