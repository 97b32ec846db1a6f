"""VOC 2007 classification: linear SVMs on frozen features (res5, 2 x 2), cross-validated cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bench.contracts.needs import Needs
from bench.contracts.task import Scored, Task
from bench.core.files import write_json
from bench.data.preprocess import Transform
from tasks._frozen.features import feature_stages, load_split
from tasks._frozen.protocol import SvmParams, check_solver

if TYPE_CHECKING:
    from bench.contracts.context import StageContext
    from bench.contracts.planner import Planner
    from bench.core.stage import Stage


class Voc07Svm(Task):
    """Linear SVMs, trainval to test: paper 002 Tables 1 and 5 (Goyal et al. 2019).

    Images: short side 256, then squashed to 224 x 224. Features: the last map average-pooled to 2
    x 2 (8192 numbers of ResNet-50), x / (|x| + 1e-5). One SVM per class: squared hinge, L2,
    positives weighted 2; the cost is the best of 1, 10, 100 and 0.5^4 ... 0.5^19 by the mean
    average precision over three stratified folds. An image with a class only as difficult objects
    is a negative of that class in training and left out at test. AP is the area under the monotone
    precision-recall curve, its mean over classes in percent. A class with fewer than three
    training positives or none at test is left out; `classes` counts the others."""

    Params = SvmParams
    params: SvmParams
    usual = True
    headline = "mAP"
    metrics = {
        "mAP": "mean average precision over classes, percent",
        "classes": "classes that were scored",
    }
    data = {"tiny": "scenes", "": "voc2007"}
    scales = {
        "tiny": {"image_size": 96, "resize": 110, "powers": (4, 10)},
        "small": {"image_size": 128, "resize": 146},
    }

    @classmethod
    def peer(cls) -> Callable[..., Any]:
        from tasks._frozen.speed import full

        return full

    @classmethod
    def data_needs(cls, params: Any) -> Needs:
        return Needs(splits=("train", "val"), annotations=("objects",))

    def stages(self, plan: Planner, backbone: Stage, data: Stage) -> dict[str, Stage]:
        p = self.params
        check_solver(p.solver)
        layers = {"res5", "gap", p.layer}
        transform = Transform("squash", p.resize, p.image_size)
        return feature_stages(backbone, data, transform, sorted(layers), p.precision)

    def run(self, ctx: StageContext) -> dict[str, float]:
        import numpy as np

        from bench.data.semantic import image_labels
        from tasks._frozen.svm import find_usable_classes, train_full
        from tasks._shared.ranking import class_ap

        p, costs = self.params, self.params.all_costs()
        train, val = (load_split(ctx, split, p.layer) for split in ("train", "val"))
        labels, truth = image_labels(train.images), image_labels(val.images)
        keep = find_usable_classes(labels, truth)
        trained = train_full(
            train.features,
            labels[:, keep],
            val.features,
            costs,
            p.solver,
            ctx.progress,
            ctx.runtime.workers,
        )
        ap = class_ap(truth[:, keep], trained.scores, p.ap)
        names = [train.images.classes[k] for k in keep]
        table = {
            n: {"AP": 100 * a, "cost": c, "cv": (100 * cv).tolist()}
            for n, a, c, cv in zip(
                names, ap.tolist(), trained.chosen.tolist(), trained.cv, strict=True
            )
        }
        write_json(ctx.work / "per_class.json", {"costs": costs.tolist(), "classes": table})
        np.save(ctx.work / "scores.npy", trained.scores)
        return {"mAP": 100 * float(ap.mean()), "classes": float(len(keep))}

    def rescore(self, ctx: StageContext) -> Scored:
        from tasks._frozen.svm import rescore_kept

        return rescore_kept(ctx, "mAP", self.params.ap, least=3)
