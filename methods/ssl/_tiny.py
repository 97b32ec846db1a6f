"""What the pretrainings of scale `tiny` have in common (docs/design/learning.md says how they were
chosen)."""

from __future__ import annotations

from typing import Any

# A step takes about a tenth of a second of one core. Crops give one sample an image and epoch at
# this scale (`iterations_matched`), so every strategy takes as many steps: 50 epochs of 640 scenes
# are 500 steps of 64.
TINY: dict[str, Any] = {
    "backbone": "resnet10_quarter",
    "image_size": 48,
    "epochs": 50,
    "batch_size": 64,
    "optimizer": "adamw",
    "lr": 0.012,
    "warmup_epochs": 5.0,
    "lr_step": "iter",
}
# Two random crops of a scene show different objects often enough that it matters where to crop.
TINY_VIEWS: dict[str, Any] = {**TINY, "min_scale": 0.35}
