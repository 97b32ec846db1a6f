"""The network and loss of supervised pretraining."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contracts.method import BackboneInit
from bench.contracts.network import Batch, Network
from bench.nn.backbones import build_backbone
from bench.nn.byol import output_std


class SupervisedNetwork(Network):
    """A backbone and a linear classifier of its pooled features."""

    def __init__(self, backbone: str, classes: int, init: BackboneInit = "torchvision") -> None:
        super().__init__()
        encoder = build_backbone(backbone, init)
        self.backbone: nn.Module = encoder
        self.classifier = nn.Linear(encoder.feature_dim, classes)
        nn.init.normal_(self.classifier.weight, std=0.01)
        # Every class starts at probability .01, so that the many absent ones do not swamp the
        # first steps (Lin et al. 2017, section 3.3).
        nn.init.constant_(self.classifier.bias, -float(np.log(99)))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """`classification_loss`, and "precision", the share of samples whose best class is
        present."""
        labels = batch.extra["present"]
        features = self.backbone(batch.views["view1"].images)
        logits = self.classifier(features)
        with torch.no_grad():
            precision = labels.gather(1, logits.argmax(1, keepdim=True)).mean()
        return {
            "loss": classification_loss(logits, labels),
            "precision": precision,
            "std": output_std(features),
        }

    def embed(self, images: Tensor) -> Tensor:
        """Pooled features."""
        return self.backbone(images)  # type: ignore[no-any-return]


def classification_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy summed over classes, mean over images. logits, labels: (B, K), labels 0
    or 1."""
    return F.binary_cross_entropy_with_logits(logits.float(), labels, reduction="sum") / len(
        logits
    )
