"""k-nearest-neighbour classification of images by frozen features, on any labelled set (k = 200, T
= 0.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.contracts.task import Scored, Task
from bench.data.preprocess import Transform
from tasks._frozen.protocol import feature_stages
from tasks._frozen.settings import KnnParams

if TYPE_CHECKING:
    from bench.contracts.context import StageContext
    from bench.core.stage import Stage


class Knn(Task):
    """Weighted kNN (Wu et al. 2018, section 3.4): no training, the quickest check of a backbone.

    Short side 256, central 224 x 224, pooled features, cosine similarity; the 200 nearest training
    images vote with weight exp(similarity / 0.1). In sets of scenes an image's label is the class
    of its largest object."""

    Params = KnnParams
    params: KnnParams
    headline = "top1"
    metrics = {
        "top1": "images whose class gets most votes, percent",
        "top5": "images whose class is among the five with most votes, percent",
    }
    data = {"tiny": "scenes_objects", "": "imagenet"}
    scales = {
        "tiny": {"image_size": 96, "resize": 110, "k": 20},
        "small": {"image_size": 128, "resize": 146},
    }

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
