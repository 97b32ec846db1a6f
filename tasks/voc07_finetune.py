"""VOC 2007 multi-label classification, fine-tuned end to end: mean average precision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.contracts.needs import Needs
from bench.contracts.task import Scored, Task
from tasks._classification.protocol import TransferParams
from tasks._classification.task import SMALL, TINY

if TYPE_CHECKING:
    from bench.contracts.context import StageContext


class Voc07Finetune(Task):
    """Train on trainval, score on test, all layers: the "mAP" of paper 000's Tables 1, 2 and 14.

    The paper names neither optimiser nor schedule nor kind of average precision. Ours:
    `TransferParams`, binary cross-entropy summed over the 20 classes, one 224-pixel crop; average
    precision by VOC 2007's own 11-point rule, the other two kinds beside it. A class that an image
    shows only as difficult objects is left out for that image, in training and at test, as the VOC
    2007 protocol scores it.
    """

    Params = TransferParams
    params: TransferParams
    headline = "mAP"
    metrics = {
        "mAP": "average precision by the 11-point rule, mean of classes, percent",
        "mAP_interpolated": "the area under the monotone precision-recall curve instead, percent",
        "mAP_area": "the sum of precisions without interpolation instead, percent",
    }
    data = {"tiny": "scenes", "": "voc2007"}
    scales = {
        "tiny": {**TINY, "steps": 60, "lr": 0.02},
        "small": {**SMALL, "steps": 3000},
    }

    @classmethod
    def data_needs(cls, params: Any) -> Needs:
        return Needs(splits=("train", "val"), annotations=("objects",))

    def run(self, ctx: StageContext) -> dict[str, float]:
        from tasks._classification.pipeline import run_multi

        return run_multi(ctx, self.params)

    def rescore(self, ctx: StageContext) -> Scored:
        from tasks._classification.pipeline import rescore_multi

        return rescore_multi(ctx)
