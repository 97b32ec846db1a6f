"""What the linear probes of single-label sets declare alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bench.contracts.task import Scored, Task
from bench.nn.architectures import DEPTHS
from tasks._frozen.settings import LinearParams, accuracy_metrics

if TYPE_CHECKING:
    from bench.contracts.context import StageContext


class LinearTask(Task):
    """A linear classifier on each of five depths of a frozen backbone: `LinearParams`; the best
    layer counts.

    Frozen backbone, batch norm in eval mode; on each of conv1 and res2 to res5, pooled to about
    9,000 numbers, a batch norm without affine parameters and a linear classifier. Random resized
    crops (.08, 1) and flips. SGD .01, batch 256, momentum .9 (Nesterov), weight decay 1e-4. Test:
    short side 256, central 224 x
    224. The best layer by test accuracy is reported, as in paper 002, and each layer beside it.
    Where the set has scenes, the label is the largest object's class.
    """

    params: LinearParams
    headline = "top1"
    metrics = accuracy_metrics(DEPTHS)
    scales = {
        "tiny": {"image_size": 64, "resize": 73, "epochs": 6, "steps": (3, 5), "batch_size": 32},
        "small": {"image_size": 128, "resize": 146},
    }

    def run(self, ctx: StageContext) -> dict[str, float]:
        from tasks._frozen.linear import accuracies, run_linear

        scores, truth = run_linear(ctx, self.params, multi=False)
        np.savez_compressed(
            ctx.work / "predicted.npz", **{k: s.argmax(1) for k, s in scores.items()}
        )
        return accuracies(scores, truth)

    def rescore(self, ctx: StageContext) -> Scored:
        from tasks._frozen.linear import rescore_linear

        return rescore_linear(ctx)
