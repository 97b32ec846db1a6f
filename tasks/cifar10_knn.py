"""CIFAR-10 by k nearest neighbours of frozen features at 32 x 32 pixels (k = 200, T = 0.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.contracts.task import Scored, Task
from bench.core.params import param
from bench.data.preprocess import Transform
from tasks._frozen.protocol import feature_stages
from tasks._frozen.settings import KnnParams

if TYPE_CHECKING:
    from bench.contracts.context import StageContext
    from bench.core.stage import Stage


class CifarKnnParams(KnnParams):
    """CIFAR images as they are: 32 pixels, neither resized nor cropped."""

    image_size: int = param(32, ge=16, help="side of an image the backbone is shown, pixels")
    resize: int = param(32, ge=16, help="short side before the central crop, pixels")


class Cifar10Knn(Task):
    """Weighted kNN on CIFAR-10's test set with its training set as the bank (Wu et al. 2018).

    lightly's benchmark (ResNet-18 with the CIFAR stem, 200 epochs, batch 512) reports 84.8 for
    SimCLR, 86.8 for BYOL and 84.7 for MoCo v2: maxima over epochs; this task scores the final
    backbone."""

    Params = CifarKnnParams
    params: CifarKnnParams
    headline = "top1"
    metrics = {
        "top1": "images whose class gets most votes, percent",
        "top5": "images whose class is among the five with most votes, percent",
    }
    data = {"tiny": "scenes_objects", "": "cifar10"}
    scales = {"tiny": {"k": 20}}

    def stages(self, plan: Any, backbone: Stage, data: Stage) -> dict[str, Stage]:
        p = self.params
        transform = Transform("center", p.resize, p.image_size)
        return feature_stages(backbone, data, transform, ["gap"], p.precision)

    def run(self, ctx: StageContext) -> dict[str, float]:
        from tasks._frozen.knn import run_knn

        return run_knn(ctx, self.params)

    def rescore(self, ctx: StageContext) -> Scored:
        from tasks._frozen.knn import rescore_knn

        return rescore_knn(ctx)
