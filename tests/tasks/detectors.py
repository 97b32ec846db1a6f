"""Detectors cut down to a few steps, sets and samples for them, and a stage context, for their
tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision.models.detection.image_list import ImageList

from bench.contracts.context import StageContext
from bench.contracts.images import Objects
from bench.contracts.registry import load
from bench.core.params import Runtime
from bench.core.stage import Stage
from bench.data.sets.scenes_keypoints import KEYPOINTS as ENDS
from bench.data.sets.scenes_keypoints import extremes
from tasks._detection.backend import DETECTORS
from tasks._detection.data import TrainImages, batch_images
from tasks._detection.pipeline import prepare_split
from tasks._detection.task import TINY_FPN, TINY_RPN
from tasks._shared.finetune import Key
from tests.small_set import SmallSet

MICRO: dict[str, Any] = {
    "iterations": 6,
    "steps": (4,),
    "warmup": 2,
    "batch_size": 2,
    "precise_bn": 2,
    "sizes": (64,),
    "test_size": 64,
}
FROZEN = ["coco_det", "coco_det_2x", "coco_det_10pct", "voc0712_det_fpn"]  # the body, at `tiny`
WHOLE: dict[str, Any] = {
    **TINY_RPN,
    **TINY_FPN,
    "box_shared": False,
    "body_lr": 1.0,
    "optimizer": "sgd",
    "lr": 0.05,
}
WHOLE_MASKS: dict[str, Any] = {**WHOLE, "mask_convs": 2, "mask_width": 64}
FAMILIES = [
    "coco_det",
    "coco_det_c4",
    "voc0712_det",
    "voc0712_det_fpn",
    "coco_retinanet",
    "coco_keypoints",
]


class PointSet(SmallSet):
    """The scenes with the keypoints of `scenes_keypoints`, one class."""

    def __init__(self, folder: Path, n: int, first: int = 0) -> None:
        super().__init__(folder, n, first)
        self.classes, self.keypoint_names = ["object"], ENDS

    def objects(self, index: int) -> Objects:
        found = super().objects(index)
        points = np.array([extremes(m) for m in self.masks[index]], np.float32).reshape(-1, 5, 3)
        labels = np.zeros_like(found.labels)
        rest = (found.crowd, found.difficult, found.area, found.ids, found.segmentations)
        return Objects(found.boxes, labels, *rest, points)


def images_for(name: str, folder: Path, n: int, first: int = 0) -> SmallSet:
    return PointSet(folder, n, first) if name == "coco_keypoints" else SmallSet(folder, n, first)


def params(name: str, **changes: Any) -> Any:
    return load("task", name).resolve("tiny", {**MICRO, **train_whole(name), **changes}).params


def train_whole(name: str) -> dict[str, Any]:
    """Settings with which every layer learns and all heads have the papers' layers, for the tasks
    that have less at `tiny`."""
    if name not in FROZEN:
        return {}
    return WHOLE if name == "voc0712_det_fpn" else WHOLE_MASKS


def fpn_params(**changes: Any) -> Any:
    """Mask R-CNN with few proposals."""
    return params(
        "coco_det", **{"rois": 32, "proposals": 40, "rpn_train": 60, "rpn_test": 60, **changes}
    )


def detector(p: Any, classes: int = 20, backbone: str = "resnet18_quarter") -> Any:
    torch.manual_seed(0)
    model = DETECTORS[p.detector](backbone, classes, p, len(ENDS))
    return model.to(memory_format=torch.channels_last)  # as the pipeline does


def context(folder: Path, seconds: float = 1e9) -> StageContext:
    folder.mkdir(exist_ok=True)
    runtime = Runtime(home=folder, database="sqlite://", workers=0, checkpoint_seconds=seconds)
    return StageContext(Stage("evaluate", "coco_det", 1, {"seed": 0}, ""), folder, {}, runtime)


def sample_targets(name: str, folder: Path, p: Any) -> tuple[ImageList, list[dict[str, Any]]]:
    images = prepare_split(images_for(name, folder, 2), p)
    data = TrainImages(images, p.sizes, p.max_size, 0, p.kinds)
    samples = [data[Key(0, i, i)] for i in range(2)]
    return batch_images(samples, torch.device("cpu")), samples
