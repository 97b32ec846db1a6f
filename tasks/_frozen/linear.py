"""Linear probes: classifiers of a frozen backbone's depths, trained on augmented images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from bench.contracts.context import StageContext
from bench.contracts.images import ImageSet
from bench.contracts.task import Scored
from bench.contracts.views import Augment, Sample, Source, ViewSpec
from bench.core.errors import BadData
from bench.data.preprocess import Transform
from bench.data.semantic import image_labels, single_labels
from bench.stages.extract import BATCH, Extractor, batches, load_extractor
from bench.stages.features import backbone_name
from bench.stages.pretrain.setup import pick_device, step_threads
from bench.views.augment import STD
from bench.views.loader import BatchOrder, make_loader, steps_per_epoch, to_device
from tasks._frozen.protocol import LinearParams
from tasks._shared.counted import Counted, load_kept, share
from tasks._shared.finetune import Loop, fit, open_fabric
from tasks._shared.finite import require_finite
from tasks._shared.ranking import top_k

# PCA of ImageNet's RGB values in [0, 1] (Krizhevsky et al. 2012): eigenvalues and eigenvectors
# (columns)
LIGHT_VALUES = (0.2175, 0.0188, 0.0045)
LIGHT_VECTORS = (
    (-0.5675, 0.7192, 0.4009),
    (-0.5808, -0.0045, -0.8140),
    (-0.5836, -0.6948, 0.4203),
)


@dataclass(frozen=True)
class _Whole:
    """Every labelled image, whole."""

    positions: np.ndarray

    def __len__(self) -> int:
        return len(self.positions)

    def sources(self, index: int, rng: np.random.Generator) -> list[Source]:
        return [Source(int(self.positions[index]))]


@dataclass(frozen=True)
class _Crop:
    """A random resized crop with a flip, and colour jitter where asked for."""

    size: int
    min_scale: float
    jitter: float

    def __call__(self, sources: list[Source], rng: np.random.Generator) -> Sample:
        j = self.jitter
        colour = Augment(p_jitter=float(j > 0), jitter=(j, j, j, 0.0))
        return Sample(
            [ViewSpec("view1", sources[0].image, None, self.size, colour, (self.min_scale, 1.0))]
        )


def lighting(images: Tensor, deviation: float) -> Tensor:
    """Normalised images (B, 3, H, W) plus PCA noise on the [0, 1] scale: x + V (a * l), a ~ N(0,
    deviation^2) of torch's generator, per image and axis. Source: Krizhevsky et al. 2012, section
    4.1."""
    if deviation == 0:
        return images
    alpha = torch.randn(len(images), 3) * deviation
    shift = (alpha * torch.tensor(LIGHT_VALUES)) @ torch.tensor(LIGHT_VECTORS).T
    return images + (shift / torch.tensor(STD)).to(images)[:, :, None, None]


class Heads(nn.Module):
    """A classifier per layer: batch norm without affine parameters (or nothing), then a linear
    map, N(0, .01)."""

    def __init__(self, widths: dict[str, int], classes: int, batch_norm: bool) -> None:
        super().__init__()
        self.heads = nn.ModuleDict()
        for name, width in widths.items():
            linear = nn.Linear(width, classes)
            nn.init.normal_(linear.weight, std=0.01)
            nn.init.zeros_(linear.bias)
            norm = nn.BatchNorm1d(width, affine=False) if batch_norm else nn.Identity()
            self.heads[name] = nn.Sequential(norm, linear)

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: head(features[name]) for name, head in self.heads.items()}


def probe_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy for labels (B,) int64; for labels (B, K) of 1, 0 (not counted), -1: binary
    cross-entropy averaged over what counts."""
    if labels.ndim == 1:
        return F.cross_entropy(logits, labels)
    counted = (labels != 0).float()
    each = F.binary_cross_entropy_with_logits(logits, (labels > 0).float(), reduction="none")
    return (each * counted).sum() / counted.sum().clamp(min=1)


def build_optimizer(heads: Heads, p: LinearParams) -> torch.optim.SGD:
    """SGD; Nesterov's form only where there is momentum."""
    nesterov = p.nesterov and p.momentum > 0
    return torch.optim.SGD(
        heads.parameters(), p.lr, p.momentum, weight_decay=p.weight_decay, nesterov=nesterov
    )


def lr_at(epoch: int, p: LinearParams) -> float:
    """lr / 10^(steps that lie behind)."""
    return float(p.lr * 0.1 ** sum(epoch >= s for s in p.steps))


def run_linear(
    ctx: StageContext, p: LinearParams, multi: bool
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Train on "train" and score "val": (M, K) scores by layer, and the labels of those images:
    (M,) or, with `multi`, (M, K) of `image_labels`. Images without a label are left out of both.
    """
    train, val = ctx.images("data", "train"), ctx.images("data", "val")
    labels, truth = _labels(train, multi), _labels(val, multi)
    device = pick_device(ctx.runtime.devices)
    threads = torch.get_num_threads()
    torch.set_num_threads(step_threads(ctx, device))
    try:
        name = backbone_name(ctx.stage.inputs["backbone"])
        extract = load_extractor(ctx.inputs["backbone"], name, p.layers, device, p.precision)
        heads = _train(ctx, p, extract, train, labels)
        scores = _score(ctx, p, extract, heads, val)
    finally:
        torch.set_num_threads(threads)
    known = truth >= 0 if not multi else np.ones(len(truth), bool)
    return {layer: s[known] for layer, s in scores.items()}, truth[known]


def _labels(images: ImageSet, multi: bool) -> np.ndarray:
    labels = image_labels(images) if multi else single_labels(images)
    if not images.classes or (not multi and not (labels >= 0).any()):
        other = "scenes" if multi else "scenes_objects"
        raise BadData(
            f"{images.name}/{images.split} has no labelled image; try: --task-data {other}"
        )
    return labels


def _train(
    ctx: StageContext, p: LinearParams, extract: Extractor, images: ImageSet, labels: np.ndarray
) -> Heads:
    positions = np.arange(len(labels)) if labels.ndim > 1 else np.flatnonzero(labels >= 0)
    blank = extract(torch.zeros(1, 3, p.image_size, p.image_size, dtype=torch.uint8))
    seed = ctx.seed("linear probe")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        heads = Heads({n: blank[n].shape[1] for n in p.layers}, len(images.classes), p.batch_norm)
    heads.to(extract.device)
    optimizer = build_optimizer(heads, p)
    crop, targets = _Crop(p.image_size, p.min_scale, p.jitter), torch.from_numpy(labels)
    per_epoch = steps_per_epoch(len(positions), p.batch_size)

    def load_batches(start: int) -> DataLoader:
        order = BatchOrder(len(positions), p.batch_size, p.epochs, seed, start)
        return make_loader(images, _Whole(positions), crop, seed, order, ctx.runtime.workers)

    def losses(raw: dict[str, Any]) -> dict[str, Tensor]:
        view = to_device(raw, extract.device, 0, 1).views["view1"]
        target = targets[view.index.cpu()].to(extract.device)
        outputs = heads(extract(lighting(view.images, p.lighting)))
        return {f"loss_{layer}": probe_loss(out, target) for layer, out in outputs.items()}

    loop = Loop(
        p.epochs * per_epoch,
        p.lr,
        load_batches,
        losses,
        lambda step: lr_at(step // per_epoch, p),
        seed,
    )
    fit(ctx, heads, optimizer, loop, open_fabric(extract.device.type))
    return heads.eval()


@torch.no_grad()
def _score(
    ctx: StageContext, p: LinearParams, extract: Extractor, heads: Heads, images: ImageSet
) -> dict[str, np.ndarray]:
    advance = ctx.progress.task("score", len(images))
    scores: dict[str, list[Tensor]] = {layer: [] for layer in p.layers}
    transform = Transform("center", p.resize, p.image_size)
    for shown in batches(
        images, transform, workers=ctx.runtime.workers, pin=extract.device.type == "cuda"
    ):
        for layer, out in heads(extract(shown)).items():
            scores[layer].append(out.float().cpu())
        advance(min(BATCH, len(shown)))
    return {
        layer: require_finite(torch.cat(parts).numpy(), f"scores of the classifier on {layer}")
        for layer, parts in scores.items()
    }


def measure_accuracies(scores: dict[str, np.ndarray], truth: np.ndarray) -> dict[str, float]:
    """top1 and top5 in percent of every layer (`top1_res5`), and of the layer of the best top1."""
    accuracy = {
        f"top{k}_{layer}": 100 * top_k(truth, s, k) for layer, s in scores.items() for k in (1, 5)
    }
    best = max(scores, key=lambda layer: accuracy[f"top1_{layer}"])
    return {"top1": accuracy[f"top1_{best}"], "top5": accuracy[f"top5_{best}"], **accuracy}


def rescore_linear(ctx: StageContext) -> Scored:
    """top1 of each layer of a finished evaluation, and of the best, as functions of how often each
    image counts."""
    images = ctx.images("data", "val")
    labels = single_labels(images)
    known = labels >= 0
    with load_kept(ctx.work, "predicted.npz") as file:
        layers = {layer: share(labels[known] == file[layer]) for layer in file.files}
    metrics: dict[str, Counted] = {f"top1_{layer}": f for layer, f in layers.items()}
    metrics["top1"] = lambda counts: max(f(counts) for f in layers.values())
    return Scored(images.ids[known], metrics)


def fit_cached(
    train: np.ndarray, labels: np.ndarray, test: np.ndarray, p: LinearParams, seed: int
) -> np.ndarray:
    """(M, K) scores of one classifier of extracted features: `Heads`, `probe_loss` summed over
    classes instead of averaged, SGD as the other probes. train: (N, D), labels: (N, K) of
    `image_labels`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        heads = Heads({"gap": train.shape[1]}, labels.shape[1], p.batch_norm)
    x, y = torch.from_numpy(np.array(train)), torch.from_numpy(labels)
    optimizer = build_optimizer(heads, p)
    heads.train()
    for step, keys in enumerate(order := BatchOrder(len(x), p.batch_size, p.epochs, seed)):
        at = torch.tensor([i for _, i in keys])
        for group in optimizer.param_groups:
            group["lr"] = lr_at(step // order.steps_per_epoch, p)
        optimizer.zero_grad(set_to_none=True)
        (probe_loss(heads({"gap": x[at]})["gap"], y[at]) * labels.shape[1]).backward()
        optimizer.step()
    heads.eval()
    with torch.no_grad():
        scores: np.ndarray = heads({"gap": torch.from_numpy(np.array(test))})["gap"].numpy()
    return require_finite(scores, "scores of the classifier")
