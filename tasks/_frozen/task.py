"""What the tasks on a frozen backbone declare alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bench.contracts.needs import Needs
from bench.contracts.task import Scored, Task
from bench.data.preprocess import Transform
from bench.nn.architectures import DEPTHS
from tasks._frozen.features import feature_stages
from tasks._frozen.protocol import KnnParams, LinearParams

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.contracts.context import StageContext
    from bench.contracts.planner import Planner
    from bench.core.stage import Stage


class KnnTask(Task):
    """Weighted votes of the nearest training images by pooled features of the central crop:
    `KnnParams`."""

    version = 2  # version 1 overflowed at temperatures below 1/88
    Params = KnnParams
    params: KnnParams
    headline = "top1"
    metrics = {
        "top1": "images whose class gets most votes, percent",
        "top5": "images whose class is among the five with most votes, percent",
    }

    @classmethod
    def data_needs(cls, params: Any) -> Needs:
        return Needs(splits=("train", "val"), annotations=("objects",))

    def stages(self, plan: Planner, backbone: Stage, data: Stage) -> dict[str, Stage]:
        p = self.params
        transform = Transform("center", p.resize, p.image_size)
        return feature_stages(backbone, data, transform, ["gap"], p.precision)

    def run(self, ctx: StageContext) -> dict[str, float]:
        from tasks._frozen.knn import run_knn

        return run_knn(ctx, self.params)

    def rescore(self, ctx: StageContext) -> Scored:
        from tasks._frozen.knn import rescore_knn

        return rescore_knn(ctx)


def accuracy_metrics(layers: Sequence[str]) -> dict[str, str]:
    """What `measure_accuracies` returns, described."""
    best = {"top1": "accuracy of the best layer, percent", "top5": "its top-5 accuracy, percent"}
    return best | {
        f"top{k}_{n}": f"top-{k} accuracy of {n}, percent" for n in layers for k in (1, 5)
    }


class LinearTask(Task):
    """A linear classifier on each of five depths of a frozen backbone: `LinearParams`; the best
    layer counts.

    Frozen backbone, batch norm in eval mode; on each of conv1 and res2 to res5, pooled to about
    9,000 numbers, a batch norm without affine parameters and a linear classifier. Random resized
    crops (.08, 1) and flips. SGD .01, batch 256, momentum .9 (Nesterov), weight decay 1e-4. Test:
    short side 256, central 224 x 224. The best layer by test accuracy is reported, as in paper
    002, and each layer beside it. Where the set has scenes, the label is the largest object's
    class.
    """

    params: LinearParams
    headline = "top1"
    metrics = accuracy_metrics(DEPTHS)
    scales = {
        "tiny": {"image_size": 64, "resize": 73, "epochs": 6, "steps": (3, 5), "batch_size": 32},
        "small": {"image_size": 128, "resize": 146},
    }

    @classmethod
    def data_needs(cls, params: Any) -> Needs:
        return Needs(splits=("train", "val"), annotations=("objects",))

    def run(self, ctx: StageContext) -> dict[str, float]:
        from tasks._frozen.linear import measure_accuracies, run_linear

        scores, truth = run_linear(ctx, self.params, multi=False)
        np.savez_compressed(
            ctx.work / "predicted.npz", **{k: s.argmax(1) for k, s in scores.items()}
        )
        return measure_accuracies(scores, truth)

    def rescore(self, ctx: StageContext) -> Scored:
        from tasks._frozen.linear import rescore_linear

        return rescore_linear(ctx)
