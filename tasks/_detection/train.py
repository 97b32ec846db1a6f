"""Fine-tuning: SGD, warm-up, two steps down; resumable at any iteration; precise batch norm at the
end."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from lightning.fabric import Fabric
from torch import nn
from torch.utils.data import DataLoader

from bench.contracts.context import StageContext
from bench.contracts.images import ImageSet
from bench.core.errors import BadData
from bench.core.processes import start_worker
from bench.core.seeds import seed_for
from tasks._detection.backend import DetectorBackend
from tasks._detection.data import JitteredImages, Sample, TrainImages
from tasks._detection.protocol import DetectionParams, VitDetParams
from tasks._detection.selection import StepBatches, choose_fraction, find_usable
from tasks._detection.vitdet import VitRcnn
from tasks._shared.finetune import Loop, fit

NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)


def lr_at(step: int, p: DetectionParams) -> float:
    """Rate at a step: linear from 1/1000 over `warmup` iterations, divided by 10 after each of
    `steps`."""
    factor = 0.1 ** sum(step >= s for s in p.steps)
    if step < p.warmup:
        alpha = step / p.warmup
        factor *= (1 - alpha) / 1000 + alpha
    return p.lr * factor


def build_optimizer(
    model: nn.Module, p: DetectionParams, body: Iterable[nn.Parameter]
) -> torch.optim.Optimizer:
    """SGD with momentum or AdamW, over a group for each pair of rate and weight decay.

    No decay on normalisation layers and position embeddings. `body`: the parameters of the
    backbone, whose rate is times `body_lr`, and falls from a vision transformer's last block to
    its first (`layer_decay`). At 0 they are left out and ask for no gradient; batch norm still
    takes the statistics of batches.
    """
    inside = {id(q) for q in body}
    norms = {
        id(q) for m in model.modules() if isinstance(m, NORMS) for q in m.parameters(recurse=False)
    }
    named = list(model.named_parameters())
    if not isinstance(p, VitDetParams):  # the order of the groups in checkpoints
        named.sort(key=lambda pair: id(pair[1]) not in norms)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, q in named:
        if not q.requires_grad:
            continue
        factor = p.body_lr if id(q) in inside else 1.0
        decay = 0.0 if id(q) in norms or name.endswith("pos_embed") else p.weight_decay
        if isinstance(p, VitDetParams):
            factor *= _decay_in_vit(model, name, p)
        if not factor:
            q.requires_grad_(False)
            continue
        groups.setdefault((factor, decay), []).append(q)
    settings = [{"params": qs, "weight_decay": d, "factor": f} for (f, d), qs in groups.items()]
    if p.optimizer == "adamw":
        return torch.optim.AdamW(settings, p.lr, (p.momentum, 0.999))
    return torch.optim.SGD(settings, p.lr, p.momentum)


def _decay_in_vit(model: nn.Module, name: str, p: VitDetParams) -> float:
    """The factor on a parameter's rate: layer_decay^(n - i) for block i of n, from 0,
    layer_decay^(n + 1) for the patch and position embeddings, 1 for the rest."""
    assert isinstance(model, VitRcnn)
    return float(p.layer_decay ** model.depth_of(name))


def make_loader(
    images: ImageSet, p: DetectionParams, seed: int, steps: int, start: int, workers: int
) -> DataLoader:
    """Training batches from step `start` on, as lists of samples."""
    positions = find_usable(images, p.kinds)
    positions = np.intersect1d(positions, choose_fraction(images.ids, p.fraction, p.subset_seed))
    if len(positions) == 0:
        what = "labelled keypoints" if "keypoints" in p.kinds else "an object that is no crowd"
        raise BadData(
            f"{images.name}/{images.split} has no image with {what} among those to train on"
        )
    order = StepBatches(images.sizes, positions, p.batch_size, steps, seed, start)
    data = TrainImages(images, p.sizes, p.max_size, seed, p.kinds)
    if isinstance(p, VitDetParams):
        data = JitteredImages(images, p.sizes, p.jitter, seed)
    return DataLoader(
        data,
        batch_sampler=order,
        num_workers=workers,
        collate_fn=list,
        worker_init_fn=start_worker if workers else None,
    )


def train(
    ctx: StageContext,
    backend: DetectorBackend,
    model: nn.Module,
    images: ImageSet,
    p: DetectionParams,
    fabric: Fabric,
) -> None:
    """Fine-tune `model` in place; a killed training goes on from its checkpoint, bit-equal on the
    CPU."""
    seed = ctx.seed("detector")

    def batches(start: int) -> DataLoader:
        return make_loader(images, p, seed, p.iterations, start, ctx.runtime.workers)

    def losses(samples: list[Sample]) -> dict[str, torch.Tensor]:
        return backend.losses(model, samples, fabric.device)

    loop = Loop(p.iterations, p.lr, batches, losses, lambda step: lr_at(step, p), seed)
    optimizer = build_optimizer(model, p, backend.body_parameters(model))
    fit(ctx, model, optimizer, loop, fabric)


@torch.no_grad()
def precise_batch_norm(
    ctx: StageContext,
    backend: DetectorBackend,
    model: nn.Module,
    images: ImageSet,
    p: DetectionParams,
    fabric: Fabric,
) -> None:
    """Replace running statistics by their mean over `precise_bn` training batches (Wu and Johnson
    2021)."""
    layers = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d | nn.BatchNorm1d)]
    if not p.precise_bn or not layers:
        return
    momenta = [layer.momentum for layer in layers]
    means = [torch.zeros_like(_get_buffer(layer, "running_mean")) for layer in layers]
    variances = [torch.zeros_like(_get_buffer(layer, "running_var")) for layer in layers]
    for layer in layers:
        layer.momentum = 1.0
    seed = ctx.seed("precise batch norm")
    model.train()
    advance = ctx.progress.task("batch-norm statistics", p.precise_bn)
    for n, samples in enumerate(
        make_loader(images, p, seed, p.precise_bn, 0, ctx.runtime.workers), 1
    ):
        torch.manual_seed(seed_for(seed, "batch", n))
        backend.losses(model, samples, fabric.device)
        for layer, mean, variance in zip(layers, means, variances, strict=True):
            mean += (_get_buffer(layer, "running_mean") - mean) / n
            variance += (_get_buffer(layer, "running_var") - variance) / n
        advance(1)
    for layer, momentum, mean, variance in zip(layers, momenta, means, variances, strict=True):
        layer.momentum = momentum
        _get_buffer(layer, "running_mean").copy_(mean)
        _get_buffer(layer, "running_var").copy_(variance)


def _get_buffer(layer: nn.Module, name: str) -> torch.Tensor:
    buffer: torch.Tensor = getattr(layer, name)
    return buffer
