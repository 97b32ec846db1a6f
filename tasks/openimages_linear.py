"""OpenImages multi-label linear probe of a frozen backbone's pooled features, 100 epochs, mAP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.contracts.needs import Needs
from bench.contracts.task import Scored, Task
from bench.core.files import write_json
from bench.core.params import param
from tasks._frozen.protocol import LinearParams
from tasks._shared.ranking import batch_map, class_ap

if TYPE_CHECKING:
    from bench.contracts.context import StageContext


class OpenimagesLinearParams(LinearParams):
    """Paper 001's probe (`main_lincls.py`): a plain linear layer at a high rate."""

    layers: tuple[str, ...] = param(
        ("gap",), help="Layers that are read: only gap, the pooled features"
    )
    epochs: int = param(100, ge=1, help="How often every training image is seen")
    steps: tuple[int, ...] = param(
        (60, 80), help="Epochs after which the learning rate is divided by 10, for example 60,80"
    )
    lr: float = param(30.0, gt=0, help="Learning rate", search=["log", 0.1, 100.0])
    nesterov: bool = param(False, help="Use Nesterov's form of momentum")
    weight_decay: float = param(
        0.0, ge=0, help="Weight decay of weights and biases of the classifier"
    )
    batch_norm: bool = param(
        False, help="Put a batch norm without affine parameters before the classifier"
    )
    batch_map: bool = param(
        False,
        help="Compute mAP as paper 001's code does: the mean over test batches of `batch_size` "
        "images",
    )


class OpenimagesLinear(Task):
    """OpenImages-subset multi-label classification: paper 001 Tables 1-3 and 11.

    Frozen backbone, pooled features, one linear layer started at N(0, .01); binary cross-entropy
    over 208 classes, SGD 30, momentum .9, no weight decay, batch 256, 100 epochs (the rate falls
    by 10 after 60 and 80); random resized crop (.08, 1) and flip; test: short side 256, central
    224 x 224. mAP is the mean over classes of each class's AP over the whole test set (not
    interpolated), as Veit et al. 2017, whom the paper cites; its code averages per-batch mAPs
    (`mAP_batch`; with `batch_map` it becomes `mAP`) and keeps the best epoch on the test set,
    which is not done here: the last one is scored."""

    Params = OpenimagesLinearParams
    params: OpenimagesLinearParams
    headline = "mAP"
    metrics = {
        "mAP": "mean average precision over classes, percent",
        "mAP_dataset": "the same over the whole test set, percent",
        "mAP_batch": "mean over test batches of the batch's mAP, percent",
    }
    data = {"tiny": "scenes", "": "openimages"}
    scales = {
        "tiny": {"image_size": 64, "resize": 73, "epochs": 6, "steps": (3, 5), "batch_size": 32},
        "small": {"image_size": 128, "resize": 146},
    }

    @classmethod
    def data_needs(cls, params: Any) -> Needs:
        return Needs(splits=("train", "val"), annotations=("objects",))

    def run(self, ctx: StageContext) -> dict[str, float]:
        import numpy as np

        from tasks._frozen.linear import run_linear

        p = self.params
        scores, truth = run_linear(ctx, p, multi=True)
        (mine,) = scores.values() if len(scores) == 1 else (scores[p.layers[-1]],)
        ap = class_ap(truth, mine, "area")
        write_json(
            ctx.work / "per_class.json",
            {str(k): float(100 * a) for k, a in enumerate(ap) if np.isfinite(a)},
        )
        np.save(ctx.work / "scores.npy", mine)
        whole, batch = 100 * float(np.nanmean(ap)), 100 * batch_map(truth, mine, p.batch_size)
        np.save(ctx.work / "scores.npy", mine)
        return {"mAP": batch if p.batch_map else whole, "mAP_dataset": whole, "mAP_batch": batch}

    def rescore(self, ctx: StageContext) -> Scored:
        """mAP_dataset, and mAP where it is the same; the order of batches has no meaning in a
        draw."""
        from bench.data.semantic import image_labels
        from tasks._shared.counted import load_kept, mean_ap

        images = ctx.images("data", "val")
        whole = mean_ap(image_labels(images), load_kept(ctx.work, "scores.npy"), "area")
        same = {} if self.params.batch_map else {"mAP": whole}
        return Scored(images.ids, {**same, "mAP_dataset": whole})
