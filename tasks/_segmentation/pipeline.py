"""From a backbone file to segmentation metrics."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import cv2
import numpy as np
import torch
from lightning.fabric import Fabric
from torch import Tensor
from torch.utils.data import DataLoader

from bench.contracts.context import StageContext
from bench.contracts.images import ImageSet
from bench.contracts.task import Scored
from bench.core.errors import BadData
from bench.core.files import write_json
from bench.core.picture import contact_sheet
from bench.core.processes import start_worker
from bench.data.semantic import pixel_classes
from bench.nn.backbones import load_backbone
from bench.stages.pretrain.setup import pick_device, step_threads
from tasks._segmentation.data import TestImages, TrainCrops
from tasks._segmentation.infer import infer
from tasks._segmentation.metrics import count_confusion, per_class, segmentation_metrics
from tasks._segmentation.model import Segmenter, build_optimizer
from tasks._segmentation.protocol import SegmentationParams, poly
from tasks._segmentation.psa import resize
from tasks._shared.counted import Counted, load_kept
from tasks._shared.finetune import Loop, StepBatches, fit, open_fabric

SHOWN = 4  # images of the picture for the tracker


def run_segmentation(ctx: StageContext, p: SegmentationParams) -> dict[str, float]:
    """Train on "train", score on "val"; leaves segmenter.pth, confusion.npy, per_class.json,
    weights.json and, image by image, confusions.npz."""
    images, held_out = ctx.images("data", "train"), ctx.images("data", "val")
    find_labelled(ctx, images)
    find_labelled(ctx, held_out)
    device = pick_device(ctx.runtime.devices)
    if device.kind == "cpu":
        torch.set_num_threads(step_threads(ctx, device))
    fabric = open_fabric(device.kind)
    model = build(ctx, images, p).to(fabric.device).to(memory_format=torch.channels_last)
    train(ctx, model, images, p, fabric)
    torch.save({k: v.cpu() for k, v in model.state_dict().items()}, ctx.work / "segmenter.pth")
    matrices, shown = score(ctx, model, held_out, p, fabric.device)
    matrix = matrices.sum(0)
    np.save(ctx.work / "confusion.npy", matrix)
    ids = held_out.ids[held_out.has_semantic()]
    np.savez_compressed(ctx.work / "confusions.npz", ids=ids, matrices=matrices)
    write_json(ctx.work / "per_class.json", per_class(matrix, pixel_classes(held_out)))
    ctx.tracker.image("predictions", contact_sheet(shown))
    return segmentation_metrics(matrix)


def rescore(ctx: StageContext) -> Scored:
    """The metrics of a finished evaluation as functions of how often each image counts."""
    with load_kept(ctx.work, "confusions.npz") as file:
        ids, matrices = file["ids"], file["matrices"].astype(np.int64)

    def metric(name: str) -> Counted:
        def of(counts: np.ndarray) -> float:
            matrix = np.tensordot(counts, matrices, 1)
            return segmentation_metrics(matrix)[name] if matrix.any() else 0.0

        return of

    return Scored(ids, {name: metric(name) for name in ("mIoU", "mAcc", "aAcc")})


def find_labelled(ctx: StageContext, images: ImageSet) -> np.ndarray:
    """Positions of the images that have a mask; BadData if none has, a note if some have not."""
    positions = np.flatnonzero(images.has_semantic())
    if not len(positions):
        raise BadData(
            f"{images.name}/{images.split} has no semantic masks; "
            "try: --task-data voc2012_seg=PATH, --task-data cityscapes=PATH "
            "or --task-data scenes"
        )
    if len(positions) < len(images):
        ctx.progress.note(
            f"{images.name}/{images.split}: {len(images) - len(positions)} of {len(images)} "
            "images have no semantic mask and are left out"
        )
    return positions


def build(ctx: StageContext, images: ImageSet, p: SegmentationParams) -> Segmenter:
    """The network with the stage's backbone in it; every backbone tensor must match."""
    name = ctx.stage.inputs["backbone"].params["method"]["params"]["backbone"]
    torch.manual_seed(ctx.seed("segmenter init"))
    model = Segmenter(name, len(pixel_classes(images)), p)
    matched = load_backbone(ctx.inputs["backbone"] / "backbone.pth", model.backbone)
    write_json(ctx.work / "weights.json", {"backbone": name, "tensors_matched": matched})
    return model


def train(
    ctx: StageContext, model: Segmenter, images: ImageSet, p: SegmentationParams, fabric: Fabric
) -> None:
    """SGD with the polynomial schedule over random crops."""
    seed = ctx.seed("segmenter")
    positions = np.flatnonzero(images.has_semantic())
    data, workers = TrainCrops(images, p, seed), ctx.runtime.workers

    def batches(start: int) -> DataLoader:
        order = StepBatches(positions, p.batch_size, p.iterations, seed, start)
        return DataLoader(
            data,
            batch_sampler=order,
            num_workers=workers,
            worker_init_fn=start_worker if workers else None,
            pin_memory=fabric.device.type == "cuda",
        )

    def losses(batch: list[Tensor]) -> dict[str, Tensor]:
        crops, targets = (x.to(fabric.device, non_blocking=True) for x in batch)
        return model.losses(crops.contiguous(memory_format=torch.channels_last), targets)

    loop = Loop(p.iterations, p.lr, batches, losses, partial(poly, p=p), seed)
    fit(ctx, model, build_optimizer(model, p), loop, fabric)


@torch.inference_mode()
def score(
    ctx: StageContext,
    model: Segmenter,
    images: ImageSet,
    p: SegmentationParams,
    device: torch.device,
) -> tuple[np.ndarray, list[list[np.ndarray]]]:
    """(N, K, K) int32 confusion matrices at the masks' own size, and rows of (image, truth,
    prediction) pictures."""
    model.eval()
    matrices: list[np.ndarray] = []
    classes = len(pixel_classes(images))
    shown: list[list[np.ndarray]] = []
    for index, predicted, truth in predict(ctx, model, images, p, device):
        matrices.append(count_confusion(truth, predicted, classes).astype(np.int32))
        if len(shown) < SHOWN:
            masks = (truth.cpu().numpy(), predicted.cpu().numpy())
            shown.append(
                [_shrink(images.image(index)), *(_shrink(colour_classes(m)) for m in masks)]
            )
    return np.stack(matrices), shown


def predict(
    ctx: StageContext,
    model: Segmenter,
    images: ImageSet,
    p: SegmentationParams,
    device: torch.device,
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """(position, prediction, truth), both (H, W), of every image with a mask; logits are resized,
    not classes."""
    positions, workers = np.flatnonzero(images.has_semantic()), ctx.runtime.workers
    advance = ctx.progress.task("predict", len(positions))
    data = DataLoader(
        TestImages(images, positions, p),
        batch_size=None,
        num_workers=workers,
        worker_init_fn=start_worker if workers else None,
    )
    for index, image, truth in data:
        logits = infer(model, image[None].to(device, memory_format=torch.channels_last), p)
        yield index, resize(logits, list(truth.shape))[0].argmax(0), truth.to(device)
        advance(1)


def build_colours() -> np.ndarray:
    """(256, 3) uint8, VOC's colour map: bits of the index spread over red, green and blue."""
    index = np.arange(256)
    table = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        table[:, bit % 3] |= ((index >> bit & 1) << (7 - bit // 3)).astype(np.uint8)
    return table


def colour_classes(classes: np.ndarray) -> np.ndarray:
    """(H, W) class positions or 255 -> (H, W, 3) uint8; void is light."""
    return build_colours()[classes]


def _shrink(picture: np.ndarray, longest: int = 256) -> np.ndarray:
    factor = min(1.0, longest / max(picture.shape[:2]))
    size = (max(1, int(picture.shape[1] * factor)), max(1, int(picture.shape[0] * factor)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_NEAREST)
