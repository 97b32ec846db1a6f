"""Both engines' networks with the same weights; imports detectron2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.contracts.registry import load
from tasks._detection.backend import DETECTORS, TorchvisionBackend
from tasks._detection.data import TrainImages
from tasks._detection.detectron2 import Detectron2Backend, build_network
from tasks._detection.pipeline import prepare_split
from tasks._shared.finetune import Key
from tests.tasks.detectors import MICRO, images_for, train_whole
from tests.tasks.detectron2_weights import copy_weights

CPU = torch.device("cpu")
POINTS = 5
LOUDER = {  # so that networks that never learned propose, find and differ
    "roi.box_predictor.cls_score.weight": 30.0,
    "roi.box_predictor.bbox_pred.weight": 20.0,
    "rpn.head.cls_logits.weight": 10.0,
    "rpn.head.bbox_pred.weight": 5.0,
    "mask.predict.weight": 300.0,
    "head.classification_head.cls_logits.weight": 8.0,
    "head.classification_head.cls_logits.bias": 0.5,
    "head.regression_head.bbox_reg.weight": 10.0,
}


def settings(name: str, **changes: Any) -> Any:
    sizes = {"sizes": (128,), "test_size": 128, "rois": 16}
    fields = load("task", name).Params.model_fields
    all_settings = {**MICRO, **train_whole(name), **sizes, **changes}
    given = {k: v for k, v in all_settings.items() if k in fields}
    return load("task", name).resolve("tiny", given).params


class Pair:
    """A protocol, scenes, and both engines' networks with the same weights, none trivial."""

    def __init__(
        self, name: str, folder: Path, backbone: str = "resnet18", **changes: Any
    ) -> None:
        self.p, self.backbone = settings(name, **changes), backbone
        self.images = prepare_split(images_for(name, folder, 3), self.p)
        data = TrainImages(self.images, self.p.sizes, self.p.max_size, 0, self.p.kinds)
        self.samples = [data[Key(0, i, i)] for i in range(2)]
        torch.manual_seed(0)
        classes = len(self.images.classes)
        self.ours: Any = DETECTORS[self.p.detector](backbone, classes, self.p, POINTS)
        self.theirs: Any = build_network(backbone, classes, self.p, POINTS)
        with torch.no_grad():
            for key, tensor in self.ours.named_parameters():
                tensor.mul_(LOUDER.get(key, 1.0))
                if tensor.ndim == 1:  # batch norm and biases start at 0 and 1
                    tensor.add_(0.1 * torch.randn_like(tensor))
        assert copy_weights(self.ours, self.theirs) == len(self.theirs.state_dict())

    def renamed(self) -> nn.Module:
        """Our network under detectron2's names."""
        made = build_network(self.backbone, len(self.images.classes), self.p, POINTS)
        copy_weights(self.ours, made)
        return made

    def losses(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        found = []
        for backend, model in (
            (TorchvisionBackend(), self.ours),
            (Detectron2Backend(), self.theirs),
        ):
            model.train()
            torch.manual_seed(5)  # both draw the same anchors and proposals
            found.append(backend.losses(model, self.samples, CPU))
        return found[0], found[1]


def far(a: Tensor, b: Tensor) -> float:
    """Largest difference, relative to the largest value."""
    return float((a - b).detach().abs().max() / a.detach().abs().max())
