"""What the tasks of each protocol declare alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.contracts.needs import Needs
from bench.contracts.task import Scored, Task
from tasks._classification.protocol import FinetuneParams, SemiParams, TransferParams

if TYPE_CHECKING:
    from bench.contracts.context import StageContext
    from bench.contracts.planner import Planner
    from bench.core.stage import Stage

SINGLE = {
    "top1": "share of images whose best class is right, percent",
    "top5": "share of images whose class is among the best five, percent",
    "mean_per_class": "share of a class's images that are right, mean of classes, percent",
}
TINY = {"batch_size": 16, "image_size": 64, "resize": 72}
SMALL = {"batch_size": 64, "image_size": 128, "resize": 146}


class TransferTask(Task):
    """One class an image, a small set: `TransferParams`. Trains on "train", scores on "val", all
    layers.

    Paper 000's Table 7 reports such transfers (its protocol is in an appendix that is not in the
    text), paper 001's Table 10 three of them without a protocol; both call the number an accuracy.

    Training shows random resized crops (.08, 1) with a flip, the test a central crop. A set whose
    images have objects instead of one class counts each as the class of its largest object.
    """

    Params = TransferParams
    params: FinetuneParams
    headline = "top1"
    metrics = SINGLE
    scales = {
        "tiny": {**TINY, "steps": 60, "lr": 0.02},
        "small": {**SMALL, "steps": 3000},
    }

    @classmethod
    def data_needs(cls, params: Any) -> Needs:
        return Needs(splits=("train", "val"), annotations=("objects",))

    def run(self, ctx: StageContext) -> dict[str, float]:
        from tasks._classification.pipeline import run_single

        return run_single(ctx, self.params)

    def rescore(self, ctx: StageContext) -> Scored:
        from tasks._classification.pipeline import rescore_single

        return rescore_single(ctx)


class SemiTask(Task):
    """Fine-tuning on a share of the labels: `SemiParams`. Trains on "train", scores on "val", all
    layers.

    The labelled images are those that the file `subset` names, else a class-balanced draw of
    `fraction` of the training images; the metric `listed` and subset.json say which.
    """

    params: SemiParams
    headline = "top1"
    metrics = {
        **SINGLE,
        "labels": "training images whose labels were used",
        "listed": "1 if a given list named them, 0 if they were drawn",
    }

    @classmethod
    def data_needs(cls, params: Any) -> Needs:
        return Needs(splits=("train", "val"), annotations=("objects",))

    def stages(self, plan: Planner, backbone: Stage, data: Stage) -> dict[str, Stage]:
        inputs = {"backbone": backbone, "data": data}
        if self.params.subset is not None:
            from bench.stages.files import file_stage

            inputs["subset"] = file_stage(
                "subset", self.params.subset, plan.runtime, f"{self.name}.subset"
            )
        return inputs

    def run(self, ctx: StageContext) -> dict[str, float]:
        from tasks._classification.pipeline import run_semi

        return run_semi(ctx, self.params)

    def rescore(self, ctx: StageContext) -> Scored:
        from tasks._classification.pipeline import rescore_single

        return rescore_single(ctx)
