"""From a backbone file to classification metrics."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from lightning.fabric import Fabric
from torch import Tensor
from torch.utils.data import DataLoader

from bench.contracts.context import StageContext
from bench.contracts.task import Scored
from bench.core.errors import BadData
from bench.core.files import write_json
from bench.core.processes import start_worker
from bench.data.semantic import image_labels, single_labels
from bench.nn.backbones import load_backbone
from bench.stages.pretrain.setup import pick_device, step_threads
from bench.views.augment import normalise
from tasks._classification.data import Labelled, TestCrops, TrainCrops
from tasks._classification.metrics import MULTI_KINDS, class_recalls, multi_metrics, single_metrics
from tasks._classification.model import Classifier, build_optimizer, multi_loss, single_loss
from tasks._classification.protocol import FinetuneParams, SemiParams
from tasks._classification.subset import choose_balanced, read_listed
from tasks._shared.counted import count_rows, load_kept, mean_ap, share
from tasks._shared.finetune import Loop, StepBatches, fit, open_fabric
from tasks._shared.finite import require_finite

Loss = Callable[[Tensor, Tensor], Tensor]
TEST_BATCH = 64


def run_single(ctx: StageContext, p: FinetuneParams) -> dict[str, float]:
    """Train on "train", score on "val", one class an image; leaves classifier.pth, weights.json,
    per_class.json, predictions.npy (class positions, in the order of the images that have one)."""
    train, val = load_single(ctx, "train"), load_single(ctx, "val")
    return _run_single(ctx, p, train, val)


def run_semi(ctx: StageContext, p: SemiParams) -> dict[str, float]:
    """`run_single` on a share of the labels; also leaves subset.json and subset.npy, the ids."""
    every, val = load_single(ctx, "train"), load_single(ctx, "val")
    folder = ctx.inputs.get("subset")
    if folder is None:
        total = max(1, int(p.fraction * len(every)))
        train = every.part(choose_balanced(every.targets, total, p.subset_seed))
        what = f"drawn with equal classes, seed {p.subset_seed}: not the published list"
    else:
        train = every.part(
            read_listed(every.images, every.positions, folder, f"{ctx.stage.name}.subset")
        )
        what = "those of the given list"
    ctx.progress.note(f"{ctx.stage.name}: {len(train)} of {len(every)} labels, {what}")
    write_json(ctx.work / "subset.json", {"images": len(train), "of": len(every), "which": what})
    np.save(ctx.work / "subset.npy", train.images.ids[train.positions])
    metrics = _run_single(ctx, p, train, val)
    return {**metrics, "labels": float(len(train)), "listed": float(folder is not None)}


def run_multi(ctx: StageContext, p: FinetuneParams) -> dict[str, float]:
    """Train on "train", score on "val", any number of classes an image; leaves classifier.pth,
    weights.json, per_class.json, scores.npy."""
    train, val = load_multi(ctx, "train"), load_multi(ctx, "val")
    scores = finetune(ctx, p, train, val, multi_loss)
    metrics, ap = multi_metrics(val.targets, scores)
    np.save(ctx.work / "scores.npy", scores)
    _write_per_class(ctx, train, "AP", ap)
    return metrics


def rescore_single(ctx: StageContext) -> Scored:
    """top1 and mean_per_class of a finished evaluation, as functions of how often each image
    counts."""
    val, predicted = load_single(ctx, "val"), load_kept(ctx.work, "predictions.npy")
    classes = len(val.images.classes)

    def mean_per_class(rows: np.ndarray) -> float:
        return 100 * float(np.nanmean(class_recalls(val.targets[rows], predicted[rows], classes)))

    metrics = {
        "top1": share(val.targets == predicted),
        "mean_per_class": count_rows(mean_per_class),
    }
    return Scored(val.images.ids[val.positions], metrics)


def rescore_multi(ctx: StageContext) -> Scored:
    """The average precisions of a finished evaluation, as functions of how often each image
    counts."""
    val, scores = load_multi(ctx, "val"), load_kept(ctx.work, "scores.npy")
    metrics = {name: mean_ap(val.targets, scores, kind) for name, kind in MULTI_KINDS.items()}
    return Scored(val.images.ids, metrics)


def _run_single(
    ctx: StageContext, p: FinetuneParams, train: Labelled, val: Labelled
) -> dict[str, float]:
    scores = finetune(ctx, p, train, val, single_loss)
    predicted = scores.argmax(1)
    np.save(ctx.work / "predictions.npy", predicted)
    _write_per_class(
        ctx, train, "accuracy", class_recalls(val.targets, predicted, scores.shape[1])
    )
    return single_metrics(val.targets, scores)


def _write_per_class(ctx: StageContext, labelled: Labelled, what: str, values: np.ndarray) -> None:
    """Percent by class; a class that the scored split lacks has none."""
    names = labelled.images.classes
    write_json(
        ctx.work / "per_class.json",
        {
            n: {what: 100 * float(v)} if np.isfinite(v) else {}
            for n, v in zip(names, values, strict=True)
        },
    )


def load_single(ctx: StageContext, split: str) -> Labelled:
    """The images of a split that have a class; BadData if none has, a note if some have not."""
    images = ctx.images("data", split)
    labels = single_labels(images)
    known = np.flatnonzero(labels >= 0)
    if not len(known):
        where = f"{images.name}/{images.split}"
        raise BadData(f"{where} has no image with a class; try: --task-data scenes_objects")
    if len(known) < len(images):
        ctx.progress.note(
            f"{images.name}/{images.split}: {len(images) - len(known)} of {len(images)} images "
            "have no class and are left out"
        )
    return Labelled(images, known, labels[known])


def load_multi(ctx: StageContext, split: str) -> Labelled:
    """Every image of a split with the values of `image_labels`."""
    images = ctx.images("data", split)
    return Labelled(images, np.arange(len(images)), image_labels(images))


def finetune(
    ctx: StageContext, p: FinetuneParams, train: Labelled, val: Labelled, loss: Loss
) -> np.ndarray:
    """(N, K) float32 scores of the images of `val` after training on `train`."""
    if train.images.classes != val.images.classes:
        raise BadData(
            f"{train.images.name}: train and val have different classes; check its lists"
        )
    device = pick_device(ctx.runtime.devices)
    if device.kind == "cpu":
        torch.set_num_threads(step_threads(ctx, device))
    fabric = open_fabric(device.kind)
    model = build(ctx, len(train.images.classes))
    model = model.to(fabric.device).to(memory_format=torch.channels_last)
    fit_classifier(ctx, model, train, p, loss, fabric)
    torch.save({k: v.cpu() for k, v in model.state_dict().items()}, ctx.work / "classifier.pth")
    return predict(ctx, model, val, p, fabric.device)


def build(ctx: StageContext, classes: int) -> Classifier:
    """The network with the stage's backbone in it; every backbone tensor must match."""
    name = ctx.stage.inputs["backbone"].params["method"]["params"]["backbone"]
    torch.manual_seed(ctx.seed("classifier init"))
    model = Classifier(name, classes)
    matched = load_backbone(ctx.inputs["backbone"] / "backbone.pth", model.backbone)
    write_json(ctx.work / "weights.json", {"backbone": name, "tensors_matched": matched})
    return model


def fit_classifier(
    ctx: StageContext,
    model: Classifier,
    train: Labelled,
    p: FinetuneParams,
    loss: Loss,
    fabric: Fabric,
) -> None:
    """SGD over random resized crops, all layers, batch norm in training mode."""
    seed, steps = ctx.seed("classifier"), p.total_steps(len(train))
    data = TrainCrops(train, p.image_size, p.min_scale, seed)

    def batches(start: int) -> DataLoader:
        order = StepBatches(np.arange(len(train)), p.batch_size, steps, seed, start)
        return DataLoader(data, batch_sampler=order, **_loading(ctx, fabric.device))

    def losses(batch: list[Tensor]) -> dict[str, Tensor]:
        crops, targets = (x.to(fabric.device, non_blocking=True) for x in batch)
        return {"classification": loss(_forward(model, crops, p), targets)}

    loop = Loop(steps, p.lr, batches, losses, partial(_rate_at, p, len(train)), seed)
    fit(ctx, model, build_optimizer(model, p), loop, fabric)


def _rate_at(p: FinetuneParams, n: int, step: int) -> float:
    return p.rate(step, n)


def _forward(model: Classifier, crops: Tensor, p: FinetuneParams) -> Tensor:
    """(B, 3, s, s) uint8 -> (B, K) float32."""
    shown = normalise(crops.float() / 255).contiguous(memory_format=torch.channels_last)
    with torch.autocast(crops.device.type, torch.bfloat16, enabled=p.precision == "bf16"):
        return model(shown).float()  # type: ignore[no-any-return]


@torch.inference_mode()
def predict(
    ctx: StageContext,
    model: Classifier,
    labelled: Labelled,
    p: FinetuneParams,
    device: torch.device,
) -> np.ndarray:
    """(N, K) float32 scores of the central crops."""
    model.eval()
    advance = ctx.progress.task("predict", len(labelled))
    crops = TestCrops(labelled, p.resize, p.image_size)
    scores = []
    for batch in DataLoader(crops, batch_size=TEST_BATCH, **_loading(ctx, device)):
        scores.append(_forward(model, batch.to(device, non_blocking=True), p).cpu().numpy())
        advance(len(batch))
    return require_finite(np.concatenate(scores), "scores of the fine-tuned classifier")


def _loading(ctx: StageContext, device: torch.device) -> dict[str, Any]:
    workers = ctx.runtime.workers
    return {
        "num_workers": workers,
        "worker_init_fn": start_worker if workers else None,
        "pin_memory": device.type == "cuda",
    }
