"""ORL's stages 2b and 2c: corresponding RoIs between an image and its neighbours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from bench.contracts.context import StageContext
from bench.contracts.images import ImageSet
from bench.core.files import write_atomically, write_json
from bench.core.ragged import offsets
from bench.stages.embed import embed_crops, open_network
from bench.stages.proposals import filter_proposals
from bench.views.loader import crop_resize
from bench.views.sample import whole_pixels
from methods.ssl.orl.boxes import top_pairs

CHUNK = 32  # images per saved part of RoI features


def find_pairs(ctx: StageContext) -> None:
    """Stages 2b and 2c: leaves `pairs.npz`, a `Correspondences` table keyed by image id.

    The feature of every RoI is computed once per image and kept in half precision; the published
    code embeds it again for every neighbour that asks, with the same outcome.
    """
    images = ctx.images("data", str(ctx.params["split"]))
    boxes = filter_proposals(ctx, images)
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
    table: dict[str, Any] = {
        "ids": np.asarray(images.ids),
        "neighbours": others,
        "box_first": offsets(map(len, boxes)),
        "boxes": np.concatenate(boxes),
        "pair_first": offsets(map(len, lists)),
        "pairs": np.concatenate(lists).astype(np.int32),
    }
    np.savez(ctx.work / "pairs.npz", **table)
    counts = {"images": len(images), "boxes": sum(map(len, boxes)), "pairs": sum(map(len, lists))}
    write_json(ctx.work / "info.json", counts)


def _roi_features(
    ctx: StageContext, images: ImageSet, boxes: list[np.ndarray]
) -> list[np.ndarray]:
    """(boxes, D) float16 unit features per image; parts lie in scratch, from which a killed stage
    goes on."""
    network, device = open_network(ctx, len(images))
    advance = ctx.progress.task("RoI features", len(images))
    features: list[np.ndarray] = []
    for start in range(0, len(images), CHUNK):
        stop = min(start + CHUNK, len(images))
        counts = [len(b) for b in boxes[start:stop]]
        file = ctx.scratch / f"rois-{start:09d}.npy"
        part = _load_part(file, sum(counts))
        if part is None:
            crops = [
                c
                for i in range(start, stop)
                for c in _cut_out(images, i, boxes[i], int(ctx.params["size"]))
            ]
            part = embed_crops(network.backbone, crops, device).numpy().astype(np.float16)
            with write_atomically(file) as partial, open(partial, "wb") as out:
                np.save(out, part)
            part = np.load(file, mmap_mode="r")
        features += np.split(part, np.cumsum(counts)[:-1])
        advance(stop - start)
    return features


def _load_part(file: Path, rows: int) -> np.ndarray | None:
    """What an earlier try left in `file`, if it is whole: `rows` rows."""
    try:
        features: np.ndarray = np.load(file, mmap_mode="r")
        return features if len(features) == rows else None
    except (OSError, ValueError):
        return None


def _cut_out(images: ImageSet, index: int, boxes: np.ndarray, size: int) -> list[Tensor]:
    """(3, size, size) uint8 of each box of image `index`."""
    image = images.image(index)
    height, width = image.shape[:2]
    return [crop_resize(image, whole_pixels(tuple(b), width, height), size) for b in boxes]  # type: ignore[arg-type]
