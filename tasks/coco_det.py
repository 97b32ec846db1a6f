"""COCO detection and instance segmentation: Mask R-CNN R-FPN 1x, fine-tuned end to end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from bench.nn.architectures import architecture
from bench.params import Params
from bench.task import Task
from tasks._detection.protocol import DetectionParams

if TYPE_CHECKING:
    from bench.engine.context import StageContext

SIZES = {
    "AP": "IoU .5:.95",
    "AP50": "IoU .5",
    "AP75": "IoU .75",
    "APs": "small",
    "APm": "medium",
    "APl": "large",
}


class CocoDet(Task):
    """Mask R-CNN R50-FPN, 1x schedule, InfoMin setup: papers 002 Table 4 and 003 Table 1.

    Train on train2017, score on val2017, pycocotools, in percent. 90,000 iterations of 16 images, SGD .02
    (warm-up 1,000 iterations from 1/1000; divided by 10 at 60k and 80k), weight decay 1e-4 but not on
    normalisation, short side 640-800 at random, 800 at test, longest side 1333, flips. All layers train,
    batch norm in backbone, pyramid, box head (4 convolutions and 1 fully connected layer) and mask head;
    statistics taken over 200 batches before scoring. A size bin without objects is left out of the metrics.
    """

    Params: ClassVar[type[Params]] = DetectionParams
    params: DetectionParams
    headline: ClassVar[str] = "AP_bbox"
    metrics: ClassVar[dict[str, str]] = {
        f"{name}_{kind}": f"{kind} average precision, {what}, percent"
        for kind in ("bbox", "segm")
        for name, what in SIZES.items()
    }
    data: ClassVar[dict[str, str]] = {"tiny": "scenes", "": "coco"}
    scales: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {
            "iterations": 320, "steps": (230, 290), "warmup": 20, "batch_size": 4, "lr": 0.05,
            "precise_bn": 10, "sizes": (96, 112), "test_size": 112, "max_size": 224, "fpn": 64,
            "box_convs": 1, "box_width": 64, "box_fc": 256, "mask_convs": 2, "mask_width": 64,
            "anchors": (8, 16, 32, 64, 128), "canonical": 56, "rpn_train": 300, "rpn_test": 200,
            "proposals": 100, "rpn_batch": 128, "rois": 64, "detections": 50,
        },
        "small": {
            "iterations": 9000, "steps": (6000, 8000), "warmup": 500, "batch_size": 8, "lr": 0.01,
            "precise_bn": 100, "sizes": (320, 352, 384, 416), "test_size": 400, "max_size": 667,
            "anchors": (16, 32, 64, 128, 256), "canonical": 112, "rois": 256,
        },
    }  # fmt: skip

    def supports(self, backbone: str) -> str | None:
        found = architecture(backbone)
        if found.family == "vit":
            return "the feature pyramid needs four stages of strides 4 to 32; a vision transformer has one"
        if found.family == "lab":
            return "the feature pyramid needs the stages of one ResNet; this backbone is two, on L and on ab"
        if "cifar" in found.options:
            return "the feature pyramid needs strides 4 to 32; with a 3x3 stem the stages have strides 1 to 8"
        return None

    def run(self, ctx: StageContext) -> dict[str, float]:
        from tasks._detection.pipeline import run_detection

        return run_detection(ctx, self.params)
