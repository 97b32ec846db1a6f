"""What the detection tasks share; light, so that plans stay fast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.contracts.needs import Needs
from bench.contracts.task import Scored, Task
from bench.data.annotations import annotations_stage
from bench.nn.architectures import architecture
from tasks._detection.engines import engine_reason, pick
from tasks._detection.protocol import CocoParams, DetectionParams

if TYPE_CHECKING:
    from bench.contracts.context import StageContext
    from bench.contracts.planner import Planner
    from bench.core.stage import Stage

SIZES = {
    "AP": "IoU .5:.95",
    "AP50": "IoU .5",
    "AP75": "IoU .75",
    "APs": "small",
    "APm": "medium",
    "APl": "large",
}
OF_KIND = {"segm": "masks", "keypoints": "keypoints"}  # kind of AP -> the annotations it needs
VOC_METRICS = {
    "AP": "mean over classes and IoU .5:.95 of VOC's average precision, percent",
    "AP50": "the same at IoU .5, percent",
    "AP75": "the same at IoU .75, percent",
}
VOC_SIZES = tuple(range(480, 801, 32))  # training short sides
TINY: dict[str, Any] = {
    "iterations": 320,
    "steps": (230, 290),
    "warmup": 20,
    "batch_size": 4,
    "lr": 0.05,
    "precise_bn": 10,
    "sizes": (96, 112),
    "test_size": 112,
    "max_size": 224,
    "detections": 50,
}
TINY_RPN: dict[str, Any] = {
    "anchors": (8, 16, 32, 64, 128),
    "rpn_train": 300,
    "rpn_test": 200,
    "proposals": 100,
    "rpn_batch": 128,
    "rois": 64,
}
TINY_FPN: dict[str, Any] = {
    "fpn": 64,
    "box_convs": 1,
    "box_width": 64,
    "box_fc": 256,
    "canonical": 56,
}
# The backbone stays as it is and lean heads learn from it, so that two minutes judge what it was
# taught (docs/design/learning.md). Anchors have 4 strides, and boxes of less than 56 pixels are
# pooled from stride 4: strides do not shrink with the images, in which objects have 15 to 64
# pixels.
TINY_FROZEN: dict[str, Any] = {
    **TINY,
    "body_lr": 0.0,
    "optimizer": "adamw",
    "lr": 0.002,
    "iterations": 720,
    "steps": (540, 660),
    "anchors": (16, 32, 64, 128, 256),
    "canonical": 224,
    "rpn_train": 150,
    "rpn_test": 200,
    "proposals": 60,
    "rpn_batch": 128,
    "rois": 32,
    "fpn": 32,
    "box_convs": 0,
    "box_width": 32,
    "box_fc": 256,
    "box_shared": True,
}
TINY_MASKS: dict[str, Any] = {**TINY_FROZEN, "mask_convs": 1, "mask_width": 32}
TINY_C4: dict[str, Any] = {
    **TINY_RPN,
    "iterations": 200,
    "steps": (145, 180),
    "rpn_train": 400,
    "proposals_train": 100,
    "proposals": 48,
    "rois": 16,
}
SMALL: dict[str, Any] = {
    "iterations": 9000,
    "steps": (6000, 8000),
    "warmup": 500,
    "batch_size": 8,
    "lr": 0.01,
    "precise_bn": 100,
    "sizes": (320, 352, 384, 416),
    "test_size": 400,
    "max_size": 667,
}
SMALL_RPN: dict[str, Any] = {"anchors": (16, 32, 64, 128, 256), "rois": 256}

VITDET: dict[str, Any] = {
    "iterations": 184_375,
    "steps": (163_889, 177_546),
    "warmup": 250,
    "batch_size": 64,
    "lr": 1e-4,
    "weight_decay": 0.1,
    "precise_bn": 0,
    "sizes": (1024,),
    "test_size": 1024,
    "max_size": 1024,
}
TINY_VIT: dict[str, Any] = {
    "iterations": 200,
    "steps": (160, 185),
    "warmup": 10,
    "batch_size": 4,
    "lr": 1e-3,
    "sizes": (96,),
    "test_size": 96,
    "max_size": 96,
    "detections": 50,
    "mask_convs": 1,
    "mask_width": 64,
    "window": 4,
    "global_blocks": 2,
    "jitter": (0.7, 1.4),
    "layer_decay": 0.9,
    "anchors": (6, 12, 24, 48, 96),
    "rpn_convs": 1,
}
SMALL_VIT: dict[str, Any] = {
    "iterations": 9000,
    "steps": (8000, 8700),
    "batch_size": 8,
    "sizes": (448,),
    "test_size": 448,
    "max_size": 448,
    "anchors": (16, 32, 64, 128, 256),
    "canonical": 112,
    "rois": 256,
}


def name_metrics(*kinds: str) -> dict[str, str]:
    """The metrics of these kinds (bbox, segm, keypoints) with their meaning."""
    return {
        f"{name}_{kind}": f"{kind} average precision, {what}, percent"
        for kind in kinds
        for name, what in SIZES.items()
        if (kind, name) != ("keypoints", "APs")
    }


class DetectionTask(Task):
    """A detector fine-tuned end to end from the backbone."""

    version = 2  # proposals ordered by logits; RetinaNet: bias before group norm, clipped last
    params: DetectionParams
    needs: str = "the feature pyramid needs"

    @classmethod
    def figures(cls) -> dict[str, str]:
        return {"predictions": "tasks._detection.figure:run"}

    @classmethod
    def data_needs(cls, params: Any) -> Needs:
        return Needs(
            splits=("train", "val"),
            annotations=("objects", *(OF_KIND[k] for k in params.kinds if k in OF_KIND)),
        )

    def supports(self, backbone: str) -> str | None:
        network = architecture(backbone)
        if network.family == "timm":
            return self._timm_reason(backbone)
        if network.family == "vit":
            return f"{self.needs} four stages of strides 4 to 32; a vision transformer has one"
        if network.family == "lab":
            return f"{self.needs} the stages of one ResNet; this backbone is two, on L and on ab"
        if "cifar" in network.options:
            return f"{self.needs} strides 4 to 32; with a 3x3 stem the stages have strides 1 to 8"
        return engine_reason(self.params, network)

    def _timm_reason(self, backbone: str) -> str | None:
        """None, or why this detector cannot be built on a network of timm's."""
        from bench.nn.timm_names import describe

        if not describe(backbone).pyramid:
            return f"{self.needs} four stages of strides 4 to 32; a plain transformer has one"
        if self.params.engine == "detectron2":
            return "the detectron2 engine has no networks of timm; try: --engine torchvision"
        return None

    def stages(self, plan: Planner, backbone: Stage, data: Stage) -> dict[str, Stage]:
        """COCO's AP is of the annotations as they are written, where the set has them so."""
        inputs = super().stages(plan, backbone, data)
        written = annotations_stage(data, "val") if isinstance(self.params, CocoParams) else None
        return inputs if written is None else {**inputs, "annotations": written}

    @classmethod
    def pick_engine(cls, name: str) -> str:
        return pick(name)

    def run(self, ctx: StageContext) -> dict[str, float]:
        from tasks._detection.pipeline import run_detection

        return run_detection(ctx, self.params)

    def rescore(self, ctx: StageContext) -> Scored:
        from tasks._detection.resample import rescore

        return rescore(ctx, self.params)


class C4Task(DetectionTask):
    """A detector whose head is the backbone's last stage."""

    needs = "a C4 detector needs"

    def _timm_reason(self, backbone: str) -> str | None:
        from bench.nn.timm_names import describe

        if not describe(backbone).resnet:
            return "a C4 detector's head is the last stage of a ResNet; try: coco_det"
        return super()._timm_reason(backbone)


class VitDetTask(DetectionTask):
    """A detector on a vision transformer."""

    def supports(self, backbone: str) -> str | None:
        network = architecture(backbone)
        if network.family == "vit":
            return engine_reason(self.params, network)
        if network.family == "timm":
            return (
                "ViTDet runs the blocks of a transformer itself, with windows and relative "
                "positions, and knows those of bench's vit_ networks; weights of timm's "
                "vit_small, vit_base and vit_large with patches of 16 fit them "
                "(try: --backbone vit_b=FILE)"
            )
        return (
            "ViTDet's pyramid is made from the one map of a vision transformer; "
            "try a vit_ backbone"
        )
