"""Learning-rate schedules, pure functions of the step."""

from __future__ import annotations

import math

from bench.contracts.method import RateMoves


def lr_factor(
    step: int,
    steps_per_epoch: int,
    epochs: int,
    warmup_epochs: float = 0.0,
    warmup_ratio: float = 0.0,
    moves: RateMoves = "epoch",
) -> float:
    """The factor on the base rate at `step` (counted from 0): a cosine to 0 with a linear warm-up.

    With W = warmup_epochs * steps_per_epoch steps and w = r + (1 - r) step / W while step < W,
    else 1:

    - "epoch": w (1 + cos(pi e / E)) / 2, e the current epoch. The cosine starts at epoch 0 and
      moves at epoch boundaries while the warm-up moves every step, as in mmcv, which papers
      000-003 build on.
    - "iter": w during the warm-up, then (1 + cos(pi (step - W) / (T - W))) / 2, as in MAE.
    - "epoch_after_warmup": w during the warm-up, which is rounded up to whole epochs V, then
      (1 + cos(pi (e - V) / (E - V))) / 2, as in LEWEL's code.
    """
    total, warm = steps_per_epoch * epochs, warmup_epochs * steps_per_epoch
    ramp = warmup_ratio + (1.0 - warmup_ratio) * step / warm if step < warm else 1.0
    epoch = step // steps_per_epoch
    if moves == "epoch":
        progress = epoch / epochs
    elif moves == "epoch_after_warmup":
        start = math.ceil(warmup_epochs)
        progress = max(epoch - start, 0) / max(epochs - start, 1)
    else:
        progress = max(step - warm, 0.0) / max(total - warm, 1.0)
    return ramp * (1.0 + math.cos(math.pi * progress)) / 2.0
