"""What the pretrainings of scale `tiny` have in common (docs/design/learning.md says how they were
chosen)."""

from __future__ import annotations

from typing import Any

# A step takes about a tenth of a second of one core. Epochs are counted in images, so that every
# crop trains for as many steps: 40 epochs of 640 scenes are 400 steps of 64.
TINY: dict[str, Any] = {
    "backbone": "resnet10_quarter",
    "image_size": 32,
    "epochs": 40,
    "epoch_length": "images",
    "batch_size": 64,
    "optimizer": "adamw",
    "lr": 0.008,
    "warmup_epochs": 5.0,
    "lr_step": "iter",
}
