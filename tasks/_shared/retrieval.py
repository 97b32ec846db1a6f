"""Features of annotated objects, and how well neighbours share classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contracts.context import StageContext
from bench.contracts.images import ImageSet
from bench.contracts.task import Scored
from bench.core.errors import BadData
from bench.nn.backbones import build_backbone, load_backbone
from bench.nn.neighbours import nearest
from bench.stages.pretrain.setup import load_network, pick_device, step_threads
from bench.views.augment import normalise
from bench.views.loader import crop_resize
from bench.views.sample import whole_pixels
from tasks._shared.counted import Counted, load_kept
from tasks._shared.finite import require_finite

BATCH = 128  # cut-out boxes per forward
Embed = Callable[[np.ndarray, np.ndarray], Tensor]


class RetrievalSettings(Protocol):
    """The settings that retrieval reads; `object_knn` documents them."""

    features: Literal["pooled", "crop", "embedding"]
    size: int
    max_size: int
    split: str
    min_side: int


def extract_object_features(
    ctx: StageContext, p: RetrievalSettings
) -> tuple[Tensor, dict[str, np.ndarray]]:
    """(n, D) float32 on the CPU, and columns image_id, annotation_id, label (n,), box (n, 4) of
    the objects.

    Raises BadData if fewer than two objects are there.
    """
    images = ctx.images("data", p.split)
    device = pick_device(ctx.runtime.devices)
    torch.set_num_threads(step_threads(ctx, device))
    embed = _build_embedder(ctx, p, torch.device(device.kind))
    advance = ctx.progress.task("object features", len(images))
    rows: dict[str, list[Any]] = {"image_id": [], "annotation_id": [], "label": [], "box": []}
    features: list[Tensor] = []
    for boxes, pixels, columns in _read_objects(images, p.min_side):
        if len(boxes):
            features.append(embed(pixels, boxes))
            for name, column in columns.items():
                rows[name].append(column)
        advance(1)
    count = sum(map(len, features))
    if count < 2:
        raise BadData(f"{images.name}/{p.split} has {count} usable objects; neighbours need two")
    return torch.cat(features), {name: np.concatenate(parts) for name, parts in rows.items()}


def _read_objects(
    images: ImageSet, min_side: int
) -> Iterator[tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]]:
    """Of every image: boxes (n, 4), pixels (H, W, 3), and the table's columns."""
    for i in range(len(images)):
        o = images.objects(i)
        sides = o.boxes[:, 2:] - o.boxes[:, :2]
        use = ~o.crowd & ~o.difficult & (sides.min(1, initial=np.inf) >= min_side)
        columns = {
            "image_id": np.full(use.sum(), images.ids[i]),
            "annotation_id": o.ids[use],
            "label": o.labels[use],
            "box": o.boxes[use],
        }
        yield (
            o.boxes[use],
            images.image(i) if use.any() else np.zeros((0, 0, 3), np.uint8),
            columns,
        )


def _build_embedder(ctx: StageContext, p: RetrievalSettings, device: torch.device) -> Embed:
    source = ctx.stage.inputs["backbone"]
    if p.features == "embedding":
        learned_from = ctx.images("learned_from", str(source.params["split"]))
        network = load_network(ctx.inputs["backbone"], source.params, len(learned_from)).to(device)
        return lambda pixels, boxes: _embed_in_image(network.embed_boxes, pixels, boxes, p, device)
    backbone = build_backbone(source.params["method"]["params"]["backbone"])
    load_backbone(ctx.inputs["backbone"] / "backbone.pth", backbone)
    backbone.eval().to(device)
    if p.features == "crop":
        return lambda pixels, boxes: embed_cut_out(backbone, pixels, boxes, p.size, device)
    return lambda pixels, boxes: _embed_in_image(_build_pool(backbone), pixels, boxes, p, device)


@torch.inference_mode()
def embed_cut_out(
    backbone: nn.Module, image: np.ndarray, boxes: np.ndarray, size: int, device: torch.device
) -> Tensor:
    """(n, D): the backbone's output on each box, cut from (H, W, 3) uint8 and resized to size x
    size."""
    height, width = image.shape[:2]
    crops = [crop_resize(image, whole_pixels(tuple(box), width, height), size) for box in boxes]
    features = []
    for start in range(0, len(crops), BATCH):
        part = torch.stack(crops[start : start + BATCH]).to(device).float().div_(255)
        features.append(backbone(normalise(part)).float().cpu())
    return torch.cat(features)


@torch.inference_mode()
def _embed_in_image(
    embed: Callable[[Tensor, Tensor], Tensor],
    image: np.ndarray,
    boxes: np.ndarray,
    p: RetrievalSettings,
    device: torch.device,
) -> Tensor:
    """(n, D) of boxes seen in the whole image, its short side `size` unless the longest exceeds
    `max_size`."""
    height, width = image.shape[:2]
    factor = min(p.size / min(height, width), p.max_size / max(height, width))
    size = max(32, round(height * factor)), max(32, round(width * factor))
    pixels = torch.from_numpy(np.ascontiguousarray(image).copy()).permute(2, 0, 1)[None]
    pixels = F.interpolate(pixels, size, mode="bilinear", antialias=True, align_corners=False)
    scale = torch.tensor([size[1] / width, size[0] / height] * 2, device=device)
    moved = torch.from_numpy(np.asarray(boxes, np.float32)).to(device) * scale
    return embed(normalise(pixels.to(device).float().div_(255)), moved).float().cpu()


def _build_pool(backbone: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """(1, 3, H, W), boxes (n, 4) in its pixels -> (n, D): RoIAlign 7 x 7 of the last map,
    averaged."""
    from torchvision.ops import roi_align

    def pool(images: Tensor, boxes: Tensor) -> Tensor:
        maps: Tensor = backbone.maps(images)  # type: ignore[operator]
        down = torch.tensor(
            [maps.shape[3] / images.shape[3], maps.shape[2] / images.shape[2]] * 2,
            device=boxes.device,
        )
        return roi_align(maps, [boxes * down], 7, 1.0, aligned=True).mean((2, 3))

    return pool


@dataclass(frozen=True)
class Shares:
    """Of the nearest objects of each object, the share with its class. by_k: k -> (n,) float64 in
    [0, 1]. chance: (n,), the share that random answers have."""

    by_k: dict[int, np.ndarray]
    chance: np.ndarray

    def recalls(self) -> dict[str, float]:
        """`recall_k<k>` and `chance`, means over the objects in percent."""
        means = {f"recall_k{k}": 100 * float(share.mean()) for k, share in self.by_k.items()}
        return {**means, "chance": 100 * float(self.chance.mean())}


def measure_shares(features: Tensor, labels: np.ndarray, ks: Sequence[int]) -> Shares:
    """For every k below the number of objects.

    features (n, D), any length; labels (n,). StageFailed for features that are not finite.
    """
    require_finite(features, "numbers of the objects' features")
    n = len(labels)
    wanted = [k for k in ks if k < n]
    order, _ = nearest(features, max(wanted), "by_index")
    target = torch.from_numpy(np.asarray(labels))
    same = (target[order] == target[:, None]).double()
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    by_k = {k: same[:, :k].mean(1).numpy() for k in wanted}
    return Shares(by_k, (counts[inverse] - 1) / (n - 1))


def rescore_objects(ctx: StageContext, split: str) -> Scored:
    """The recalls of a finished evaluation as functions of how often each image counts: its
    objects as queries. The objects that they are compared with stay the same: if a copy of an
    image could be an answer, every query of that image would find itself."""
    images = ctx.images("data", split)
    place = {int(image): i for i, image in enumerate(images.ids)}
    with load_kept(ctx.work, "shares.npz") as file:
        of = np.array([place[int(image)] for image in file["image_id"]], np.int64)
        columns = {name: file[name] for name in file.files if name != "image_id"}
    return Scored(images.ids, {name: _weigh(column, of) for name, column in columns.items()})


def _weigh(share: np.ndarray, of: np.ndarray) -> Counted:
    """100 times the mean of objects' shares, where each counts as often as its image (`of`)."""

    def mean(counts: np.ndarray) -> float:
        weights = counts[of]
        return 100 * float((share * weights).sum() / max(weights.sum(), 1))

    return mean


def save(
    ctx: StageContext, features: Tensor, table: dict[str, np.ndarray], shares: Shares
) -> None:
    """objects.npz: the features in half precision beside their table, for pictures of them.
    shares.npz: each object's image and its shares, to be counted again."""
    columns: dict[str, Any] = {"features": features.half().numpy(), **table}
    np.savez(ctx.work / "objects.npz", **columns)
    kept: dict[str, Any] = {f"recall_k{k}": share for k, share in shares.by_k.items()}
    np.savez(ctx.work / "shares.npz", image_id=table["image_id"], **kept)
