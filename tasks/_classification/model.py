"""A backbone with a linear classifier of its pooled features, its losses, its optimiser."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.nn.backbones import build_backbone
from tasks._classification.protocol import FinetuneParams


class Classifier(nn.Module):
    """(B, 3, s, s) float32, normalised -> (B, K) float32. Weights of the classifier N(0, .01^2),
    biases 0."""

    def __init__(self, backbone: str, classes: int) -> None:
        super().__init__()
        self.backbone = build_backbone(backbone)
        self.head = nn.Linear(self.backbone.feature_dim, classes)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.backbone(images)).float()  # type: ignore[no-any-return]


def single_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy, mean over images. logits: (B, K). targets: (B,) int64."""
    return F.cross_entropy(logits, targets)


def multi_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross-entropy, summed over the classes with target 1 (present) or -1 (absent), mean
    over images; a class with target 0 has no influence. logits, targets: (B, K)."""
    each = F.binary_cross_entropy_with_logits(
        logits, (targets > 0).to(logits.dtype), reduction="none"
    )
    return (each * (targets != 0)).sum() / len(logits)


def build_optimizer(model: Classifier, p: FinetuneParams) -> torch.optim.SGD:
    """SGD; the classifier's group has the factor `head_lr` on the rate."""
    groups = [
        {"params": list(model.backbone.parameters()), "factor": 1.0},
        {"params": list(model.head.parameters()), "factor": p.head_lr},
    ]
    return torch.optim.SGD(
        groups, p.lr, momentum=p.momentum, nesterov=p.nesterov, weight_decay=p.weight_decay
    )
