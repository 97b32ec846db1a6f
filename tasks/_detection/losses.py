"""The losses of the heads on sampled proposals."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from tasks._detection.detector import Targets
from tasks._detection.masks import mask_targets, to_source


@dataclass(frozen=True)
class Sampled:
    """Sampled proposals per image: xyxy boxes, the object matched, its label (0 = background), its
    deltas."""

    boxes: list[Tensor]
    matched: list[Tensor]
    labels: list[Tensor]
    deltas: list[Tensor]

    def positive(self) -> Sampled:
        """Those that are no background."""
        at = [(label > 0).nonzero().flatten() for label in self.labels]
        parts = (self.boxes, self.matched, self.labels, self.deltas)
        return Sampled(*([t[i] for t, i in zip(part, at, strict=True)] for part in parts))


def box_losses(
    logits: Tensor, deltas: Tensor, labels: Tensor, targets: Tensor, beta: float = 0.0
) -> dict[str, Tensor]:
    """Cross-entropy, mean over sampled RoIs; smooth L1 (beta 0: L1) of the positives' own-class
    deltas, sum / sampled. deltas (n, 4) are shared by the classes, (n, 4 x classes) are not."""
    positive = (labels > 0).nonzero().flatten()
    per_class = deltas.view(len(labels), -1, 4)
    own = per_class[positive, labels[positive] if per_class.shape[1] > 1 else 0]
    box = F.smooth_l1_loss(own, targets[positive], reduction="sum", beta=beta)
    # a mean of nothing is no number
    cls = F.cross_entropy(logits, labels) if len(labels) else logits.sum()
    return {"loss_cls": cls, "loss_box": box / max(len(labels), 1)}


def mask_loss(logits: Tensor, positive: Sampled, targets: Targets) -> Tensor:
    """Binary cross-entropy of the own class's map (n, K, S, S) with the matched mask, mean over
    pixels."""
    classes = torch.cat(positive.labels)
    wanted = torch.cat(
        [
            mask_targets(t["masks"].to(b.device), to_source(b, t), m, logits.shape[-1])
            for t, b, m in zip(targets, positive.boxes, positive.matched, strict=True)
        ]
    )
    own = logits[torch.arange(len(classes), device=logits.device), classes - 1]
    return F.binary_cross_entropy_with_logits(own, wanted)
