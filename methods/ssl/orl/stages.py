"""ORL's stage 2: image neighbours, and corresponding RoIs between an image and its neighbours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bench.contracts.context import StageContext
from bench.contracts.images import ImageSet
from bench.contracts.network import Network
from bench.core.errors import BadInput
from bench.core.files import write_atomically, write_json
from bench.data.boxes import scaled_side
from bench.nn.neighbours import nearest
from bench.stages.pretrain.setup import load_network, pick_device, step_threads
from bench.stages.proposals import load_proposals
from bench.views.augment import normalise
from bench.views.loader import crop_resize
from bench.views.sample import whole_pixels
from methods.ssl.orl.boxes import filter_boxes, top_pairs

BATCH = 128  # images or RoIs per forward
CHUNK = 32  # images per saved part of RoI features


def _network(ctx: StageContext, n_images: int) -> tuple[Network, torch.device]:
    stage = ctx.stage.inputs["network"]
    network = load_network(ctx.inputs["network"], stage.params, n_images)
    device = pick_device(ctx.runtime.devices)
    torch.set_num_threads(step_threads(ctx, device))
    return network.eval().to(device.kind), torch.device(device.kind)


@torch.inference_mode()
def _forward(
    function: Callable[[Tensor], Tensor], crops: list[Tensor], device: torch.device
) -> Tensor:
    """function over uint8 (3, s, s) crops in batches -> (n, D) unit rows on the CPU, float32."""
    found = []
    for start in range(0, len(crops), BATCH):
        part = torch.stack(crops[start : start + BATCH]).to(device).float().div_(255)
        found.append(F.normalize(function(normalise(part)).float().flatten(1), dim=1).cpu())
    return torch.cat(found)


def centre_crop(image: np.ndarray, size: int) -> Tensor:
    """Short side to size x 256/224, then the central size x size: (3, size, size) uint8."""
    height, width = image.shape[:2]
    side = min(height, width) * 224 / 256
    x, y = (width - side) / 2, (height - side) / 2
    return crop_resize(image, whole_pixels((x, y, x + side, y + side), width, height), size)


def find_neighbours(ctx: StageContext) -> None:
    """Stage 2a: leaves `neighbours.npz`: ids (N,), neighbour_ids (N, K), similarities (N, K), by
    image id."""
    images = ctx.images("data", str(ctx.params["split"]))
    k = int(ctx.params["neighbours"])
    if k >= len(images):
        raise BadInput(
            f"neighbours must be less than the number of images, got {k} for {len(images)} "
            "images; "
            f"try: --set neighbours={max(1, min(10, len(images) - 1))}"
        )
    network, device = _network(ctx, len(images))
    advance = ctx.progress.task("image features", len(images))
    found: list[Tensor] = []
    for start in range(0, len(images), BATCH):
        part = range(start, min(start + BATCH, len(images)))
        crops = [centre_crop(images.image(i), int(ctx.params["size"])) for i in part]
        found.append(_forward(network.embed, crops, device))
        advance(len(part))
    order, similarity = nearest(torch.cat(found), k, str(ctx.params["drop_self"]))
    ids = np.asarray(images.ids)
    np.savez(
        ctx.work / "neighbours.npz",
        ids=ids,
        neighbour_ids=ids[order.numpy()],
        similarities=similarity.numpy(),
    )


def find_pairs(ctx: StageContext) -> None:
    """Stages 2b and 2c: leaves `pairs.npz`, a `Correspondences` table keyed by image id.

    The feature of every RoI is computed once per image and kept in half precision; the published
    code embeds it again for every neighbour that asks, with the same outcome.
    """
    images = ctx.images("data", str(ctx.params["split"]))
    boxes = _filtered(ctx, images)
    features = _roi_features(ctx, images, boxes)
    with np.load(ctx.inputs["neighbours"] / "neighbours.npz") as file:
        ids, neighbour_ids = file["ids"], file["neighbour_ids"]
    position = {int(image): i for i, image in enumerate(images.ids)}
    row_of = {int(image): i for i, image in enumerate(ids)}
    lists: list[np.ndarray] = []
    advance = ctx.progress.task("RoI pairs", len(images))
    others = np.array(
        [[position[int(o)] for o in neighbour_ids[row_of[int(i)]]] for i in images.ids]
    )
    for i, mine in enumerate(others):
        for other in mine:
            share, rule = float(ctx.params["pair_share"]), str(ctx.params["pairs"])
            lists.append(top_pairs(features[i], features[int(other)], share, rule))
        advance(1)
    table = {
        "ids": np.asarray(images.ids),
        "neighbours": others,
        "box_first": np.cumsum([0, *map(len, boxes)]),
        "boxes": np.concatenate(boxes),
        "pair_first": np.cumsum([0, *map(len, lists)]),
        "pairs": np.concatenate(lists).astype(np.int32),
    }
    np.savez(ctx.work / "pairs.npz", **table)
    counts = {"images": len(images), "boxes": sum(map(len, boxes)), "pairs": sum(map(len, lists))}
    write_json(ctx.work / "info.json", counts)


def _filtered(ctx: StageContext, images: ImageSet) -> list[np.ndarray]:
    table, p = load_proposals(ctx.inputs["proposals"]), ctx.params
    found = []
    for image, (width, height) in zip(images.ids, images.sizes, strict=True):
        least = scaled_side(float(p["min_side"]), int(width), int(height))
        found.append(
            filter_boxes(
                table.boxes(int(image)),
                least,
                float(p["max_ratio"]),
                float(p["nms"]),
                int(p["top"]),
                (int(width), int(height)),
            )
        )
    return found


def _roi_features(
    ctx: StageContext, images: ImageSet, boxes: list[np.ndarray]
) -> list[np.ndarray]:
    """(boxes, D) float16 unit features per image; parts lie in scratch, from which a killed stage
    goes on."""
    network, device = _network(ctx, len(images))
    advance = ctx.progress.task("RoI features", len(images))
    found: list[np.ndarray] = []
    for start in range(0, len(images), CHUNK):
        stop = min(start + CHUNK, len(images))
        counts = [len(b) for b in boxes[start:stop]]
        file = ctx.scratch / f"rois-{start:09d}.npy"
        part = _saved(file, sum(counts))
        if part is None:
            crops = [
                c
                for i in range(start, stop)
                for c in _crops(images, i, boxes[i], int(ctx.params["size"]))
            ]
            part = _forward(network.backbone, crops, device).numpy().astype(np.float16)
            with write_atomically(file) as partial, open(partial, "wb") as out:
                np.save(out, part)
            part = np.load(file, mmap_mode="r")
        found += np.split(part, np.cumsum(counts)[:-1])
        advance(stop - start)
    return found


def _saved(file: Path, rows: int) -> np.ndarray | None:
    try:
        found: np.ndarray = np.load(file, mmap_mode="r")
        return found if len(found) == rows else None
    except (OSError, ValueError):
        return None


def _crops(images: ImageSet, index: int, boxes: np.ndarray, size: int) -> list[Tensor]:
    image = images.image(index)
    height, width = image.shape[:2]
    return [crop_resize(image, whole_pixels(tuple(b), width, height), size) for b in boxes]  # type: ignore[arg-type]


@dataclass(frozen=True)
class Correspondences:
    """What stage 2 found, by position in the image set: boxes of image i, and for its k-th
    neighbour the corresponding boxes of both."""

    neighbours: np.ndarray
    box_first: np.ndarray
    all_boxes: np.ndarray
    pair_first: np.ndarray
    all_pairs: np.ndarray

    def boxes(self, i: int) -> np.ndarray:
        """(n, 4) xyxy, n >= 1."""
        return self.all_boxes[self.box_first[i] : self.box_first[i + 1]]

    def pairs(self, i: int, k: int) -> np.ndarray:
        """(p, 2): box of image i, box of its k-th neighbour; best first, p >= 1."""
        at = i * self.neighbours.shape[1] + k
        return self.all_pairs[self.pair_first[at] : self.pair_first[at + 1]]


def load_correspondences(folder: Path, images: ImageSet) -> Correspondences:
    """The table for `images`, which must be the very split that it was made from."""
    with np.load(folder / "pairs.npz") as file:
        arrays: dict[str, Any] = dict(file)
    if not np.array_equal(arrays["ids"], images.ids):
        raise BadInput(
            f"{folder} was made from other images than {images.name}/{images.split}; use --force"
        )
    return Correspondences(
        arrays["neighbours"],
        arrays["box_first"],
        arrays["boxes"],
        arrays["pair_first"],
        arrays["pairs"],
    )
