"""What every segmentation task declares alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.contracts.needs import Needs
from bench.contracts.task import Scored, Task
from bench.nn.architectures import architecture
from tasks._segmentation.protocol import SegmentationParams

if TYPE_CHECKING:
    from bench.contracts.context import StageContext


TINY_FCN: dict[str, Any] = {
    "iterations": 320,
    "batch_size": 4,
    "lr": 0.1,
    "crop": (112, 112),
    "scale": (0.75, 1.5),
    "photometric": False,
    "dropout": 0.0,
    "width": 64,
    "aux_width": 32,
    "window": (96, 96),
    "stride": (64, 64),
}


class SegmentationTask(Task):
    """Train on "train", score on "val", in percent; the confusion matrix is summed over the whole
    split.

    A class that is neither in the ground truth nor predicted is left out of the means.
    """

    params: SegmentationParams
    headline = "mIoU"
    metrics = {
        "mIoU": "intersection over union of pixels, mean of classes, percent",
        "mAcc": "share of a class's pixels that are found, mean of classes, percent",
        "aAcc": "share of all pixels that are right, percent",
    }

    @classmethod
    def data_needs(cls, params: Any) -> Needs:
        return Needs(splits=("train", "val"), annotations=("semantic",))

    def supports(self, backbone: str) -> str | None:
        network = architecture(backbone)
        if network.family == "timm":
            from bench.nn.timm_names import describe

            if describe(backbone).dilates:
                return None
            return (
                "dilation keeps the stride of the last stages small; timm can dilate ResNets and "
                f"ConvNeXt, not {backbone}"
            )
        if network.family == "vit":
            return (
                "dilation keeps the stride of a ResNet's last stages small; "
                "a vision transformer has none"
            )
        if network.family == "lab":
            return "the heads need the stages of one ResNet; this backbone is two, on L and on ab"
        if "cifar" in network.options:
            return "dilation starts from total stride 32; with a 3x3 stem it is 8 already"
        return None

    def run(self, ctx: StageContext) -> dict[str, float]:
        from tasks._segmentation.pipeline import run_segmentation

        return run_segmentation(ctx, self.params)

    def rescore(self, ctx: StageContext) -> Scored:
        from tasks._segmentation.pipeline import rescore

        return rescore(ctx)
