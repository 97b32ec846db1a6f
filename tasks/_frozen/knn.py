"""Weighted k-nearest-neighbour classification on frozen features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.contracts.context import StageContext
from bench.contracts.task import Scored
from bench.core.errors import BadData, BadInput
from bench.data.semantic import single_labels
from bench.nn.neighbours import unit_rows
from bench.stages.pretrain.setup import pick_device
from tasks._frozen.features import load_split
from tasks._frozen.protocol import KnnParams
from tasks._shared.counted import load_kept, share
from tasks._shared.finite import require_finite
from tasks._shared.ranking import top_k

BLOCK = 1024  # test rows at a time


def knn_scores(
    train: Tensor, labels: Tensor, test: Tensor, classes: int, k: int, temperature: float
) -> Tensor:
    """(M, K) votes: sum over the k training rows most similar to a test row by cosine, of exp((cos
    - c) / T), by class; c is the row's largest cosine.

    Wu et al. 2018, section 3.4, have c = 0, which gives the same order and overflows in float32
    for T below 1/88. train: (N, D), labels: (N,) int64, test: (M, D). StageFailed for features
    that are not finite.
    """
    bank, scores = unit_rows(train), []
    for part in test.split(BLOCK):
        cosines = unit_rows(part) @ bank.T
        near = require_finite(cosines, "cosines of the features").topk(k, dim=1)
        votes = torch.zeros(len(part), classes, device=part.device)
        weights = ((near.values - near.values[:, :1]) / temperature).exp()
        scores.append(votes.scatter_add_(1, labels[near.indices], weights))
    return torch.cat(scores)


def run_knn(ctx: StageContext, p: KnnParams) -> dict[str, float]:
    """top1 and top5 in percent over the val images that have a label; leaves predicted.npy, their
    classes."""
    train, test = (_load_labelled(ctx, split) for split in ("train", "val"))
    if p.k > len(train.labels):
        raise BadInput(
            f"k is at most the number of labelled training images, {len(train.labels)}, "
            f"got {p.k}; try: --set {ctx.stage.name}.k={min(20, len(train.labels))}"
        )
    device = pick_device(ctx.runtime.devices).kind
    bank, labels, queries = (t.to(device) for t in (train.features, train.labels, test.features))
    votes = knn_scores(bank, labels, queries, train.classes, p.k, p.temperature)
    scores = require_finite(votes.cpu().numpy(), "votes of the neighbours")
    np.save(ctx.work / "predicted.npy", scores.argmax(1))
    return {f"top{n}": 100 * top_k(test.labels.numpy(), scores, n) for n in (1, 5)}


@dataclass(frozen=True)
class _Labelled:
    """The images of a split that have a label: features (n, D), labels (n,) int64."""

    features: Tensor
    labels: Tensor
    classes: int


def _load_labelled(ctx: StageContext, split: str) -> _Labelled:
    s = load_split(ctx, split, "gap")
    labels = single_labels(s.images)
    known = labels >= 0
    if not known.any():
        where = f"{s.images.name}/{s.images.split}"
        raise BadData(f"{where} has no labelled image; try: --task-data scenes_objects")
    features = torch.from_numpy(np.array(s.features[known]))
    return _Labelled(features, torch.from_numpy(labels[known]), len(s.images.classes))


def rescore_knn(ctx: StageContext) -> Scored:
    """top1 of a finished evaluation as a function of how often each image counts."""
    images, predicted = ctx.images("data", "val"), load_kept(ctx.work, "predicted.npy")
    labels = single_labels(images)
    known = labels >= 0
    return Scored(images.ids[known], {"top1": share(labels[known] == predicted)})
