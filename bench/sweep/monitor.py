"""Online kNN: how well a backbone in training tells the validation images apart, for pruning.

It only looks. The weights are copied into a network of its own, and torch's generators are put
back, so a training ends with the same bits watched or not. It is no part of any key.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from bench.contracts.context import StageContext
from bench.core.errors import BadData
from bench.core.stage import Stage
from bench.nn.backbones import build_backbone
from bench.nn.probes import knn_accuracy
from bench.stages.extract import Extractor
from bench.stages.probes import MOST, extract_all, keep_generators, pick_labelled

if TYPE_CHECKING:
    from optuna import Trial

    from bench.launch.local import LocalEngine


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
        with keep_generators(device):
            if self.copy is None:
                self.copy = build_backbone(self.backbone)
            self.copy.load_state_dict(backbone.state_dict())
            extract = Extractor(self.copy, ["gap"], device)
            features = {part: extract_all(extract, shown) for part, shown in self.shown.items()}
        return knn_accuracy(
            features["train"], self.labels["train"], features["val"], self.labels["val"]
        )
