"""Online kNN: how well a backbone in training tells the validation images apart, for pruning.

It only looks. The weights are copied into a network of its own, and torch's generators are put
back, so a training ends with the same bits watched or not. It is no part of any key.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contracts.context import StageContext
from bench.contracts.images import ImageSet
from bench.core.errors import BadData
from bench.core.stage import Stage
from bench.data.preprocess import Transform
from bench.data.semantic import single_labels
from bench.nn.backbones import build_backbone
from bench.stages.extract import Extractor

if TYPE_CHECKING:
    from optuna import Trial

    from bench.launch.local import LocalEngine

MOST = {"train": 2000, "val": 500}  # images that are looked at
NEIGHBOURS, TEMPERATURE = 20, 0.07
BATCH = 64


@dataclass
class OnlineKnn:
    """Accuracy in percent of weighted 20-nearest-neighbour classification of held-out images,
    after every epoch of the pretraining `key`; a `Watch` of the engine. `pruned`: the trial was
    stopped here."""

    trial: Trial
    key: str
    backbone: str
    shown: dict[str, Tensor]  # (n, 3, s, s) uint8 by part
    labels: dict[str, Tensor]  # (n,) int64 by part
    pruned: bool = False
    copy: nn.Module | None = field(default=None, repr=False)

    @classmethod
    def of(cls, engine: LocalEngine, final: Stage, trial: Trial) -> OnlineKnn | None:
        """For the trial's cell that ends in `final`; None, with a note, where the data have no
        labels."""
        folder = engine.ensure(final.inputs["data"])
        ctx = StageContext(final, Path(), {"data": folder}, engine.runtime)
        source = final.inputs["backbone"]
        method = source.params["method"]["params"]
        size = int(method["image_size"])
        parts = {}
        with suppress(BadData):
            for part in ("train", "val"):
                parts[part] = pick_labelled(ctx.images("data", part), MOST[part], size)
        if len(parts) < 2:
            engine.progress.note(
                "no pruning: online kNN needs images with labels, which these data lack"
            )
            return None
        shown, labels = ({p: both[i] for p, both in parts.items()} for i in (0, 1))
        return cls(trial, source.key, str(method["backbone"]), shown, labels)

    def __call__(self, ctx: StageContext, epoch: int, epochs: int, backbone: Any) -> bool:
        if ctx.stage.key != self.key:  # an earlier stage's training, which other trials share
            return False
        top1 = self.score(backbone)
        self.trial.report(top1, epoch)
        self.pruned = self.trial.should_prune()
        if self.pruned:
            ctx.progress.note(
                f"trial {self.trial.number} is pruned after epoch {epoch} of {epochs}"
            )
        return self.pruned

    def score(self, backbone: nn.Module) -> float:
        """The accuracy of `backbone` as it is now."""
        device = next(backbone.parameters()).device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            if self.copy is None:
                self.copy = build_backbone(self.backbone)
            self.copy.load_state_dict(backbone.state_dict())
            extract = Extractor(self.copy, ["gap"], device)
            features = {
                part: torch.cat([extract(b)["gap"] for b in images.split(BATCH)])
                for part, images in self.shown.items()
            }
        return knn_accuracy(
            features["train"], self.labels["train"], features["val"], self.labels["val"]
        )


def pick_labelled(images: ImageSet, most: int, size: int) -> tuple[Tensor, Tensor]:
    """Up to `most` images that have a label, evenly over the set, squashed to size x size, and the
    labels."""
    labels = single_labels(images)
    known = np.flatnonzero(labels >= 0)
    if len(known) == 0:
        raise BadData(f"{images.name}/{images.split} has no labelled image")
    at = known[
        np.unique(np.linspace(0, len(known) - 1, min(most, len(known))).round().astype(int))
    ]
    transform = Transform("squash", size, size)
    return torch.stack([transform(images.image(int(i))) for i in at]), torch.from_numpy(labels[at])


def knn_accuracy(train: Tensor, labels: Tensor, test: Tensor, truth: Tensor) -> float:
    """Percent of test rows (M, D) whose label gets most of the votes exp((cos - c) / T) of the k
    nearest of the training rows (N, D), c the row's largest cosine."""
    bank, labels, truth = (
        F.normalize(train, dim=1),
        labels.to(train.device),
        truth.to(train.device),
    )
    near = (F.normalize(test, dim=1) @ bank.T).topk(min(NEIGHBOURS, len(bank)), dim=1)
    votes = near.values.new_zeros(len(test), int(labels.max()) + 1)
    weights = ((near.values - near.values[:, :1]) / TEMPERATURE).exp()
    votes.scatter_add_(1, labels[near.indices], weights)
    return 100 * float((votes.argmax(1) == truth).float().mean())
