"""VOC 2007 multi-label linear classification on frozen pooled features (mAP_l of paper 000)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.contracts.needs import Needs
from bench.contracts.task import Scored, Task
from bench.core.files import write_json
from bench.core.params import param
from bench.data.preprocess import Transform
from tasks._frozen.features import feature_stages, load_split
from tasks._frozen.protocol import LinearParams
from tasks._shared.ranking import ApKind, class_ap

if TYPE_CHECKING:
    from bench.contracts.context import StageContext
    from bench.contracts.planner import Planner
    from bench.core.stage import Stage


class Voc07LinearParams(LinearParams):
    """Our choice: paper 000 names the metric, not the optimiser, the epochs or the kind of AP."""

    layers: tuple[str, ...] = param(
        ("gap",), help="Layers that are read: only gap, the pooled features"
    )
    epochs: int = param(100, ge=1, help="How often every training image is seen")
    steps: tuple[int, ...] = param(
        (60, 80), help="Epochs after which the learning rate is divided by 10, for example 60,80"
    )
    ap: ApKind = param(
        "interpolated", help="Kind of average precision: interpolated, 11point or area"
    )


class Voc07Linear(Task):
    """VOC 2007 linear classification, trainval to test: `mAP_l` of paper 000 (Tables 1, 2, 13,
    14), our protocol.

    The features of `voc07_svm` before pooling to 2 x 2: short side 256, squashed to 224 x 224,
    global average. Batch norm without affine parameters, a linear layer, binary cross-entropy
    (summed over classes; a class that an image shows only as difficult objects is not counted),
    SGD .01, momentum .9 (Nesterov), weight decay 1e-4, batch 256, 100 epochs, the rate falls by 10
    after 60 and 80. Features are extracted once: no augmentation. Difficult-only images are left
    out of a class at test."""

    Params = Voc07LinearParams
    params: Voc07LinearParams
    headline = "mAP_l"
    metrics = {
        "mAP_l": "mean average precision over classes, percent",
        "classes": "classes that were scored",
    }
    data = {"tiny": "scenes", "": "voc2007"}
    scales = {
        "tiny": {
            "image_size": 96,
            "resize": 110,
            "batch_size": 32,
            "epochs": 30,
            "steps": (18, 24),
        },
        "small": {"image_size": 128, "resize": 146},
    }

    @classmethod
    def data_needs(cls, params: Any) -> Needs:
        return Needs(splits=("train", "val"), annotations=("objects",))

    def stages(self, plan: Planner, backbone: Stage, data: Stage) -> dict[str, Stage]:
        p = self.params
        layers = ["gap", "res5"]  # those of the SVM tasks, so that the features are shared
        return feature_stages(
            backbone, data, Transform("squash", p.resize, p.image_size), layers, p.precision
        )

    def run(self, ctx: StageContext) -> dict[str, float]:
        import numpy as np

        from bench.data.semantic import image_labels
        from tasks._frozen.linear import fit_cached
        from tasks._frozen.svm import find_usable_classes

        p = self.params
        train, val = (load_split(ctx, split, "gap") for split in ("train", "val"))
        labels, truth = image_labels(train.images), image_labels(val.images)
        keep = find_usable_classes(labels, truth, 1)
        scores = fit_cached(
            train.features, labels[:, keep], val.features, p, ctx.seed("linear probe")
        )
        ap = class_ap(truth[:, keep], scores, p.ap)
        names = [train.images.classes[k] for k in keep]
        write_json(ctx.work / "per_class.json", dict(zip(names, (100 * ap).tolist(), strict=True)))
        np.save(ctx.work / "scores.npy", scores)
        return {"mAP_l": 100 * float(ap.mean()), "classes": float(len(keep))}

    def rescore(self, ctx: StageContext) -> Scored:
        from tasks._frozen.svm import rescore_kept

        return rescore_kept(ctx, "mAP_l", self.params.ap, least=1)
