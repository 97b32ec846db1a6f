"""The detector-engine interface: data, schedule, precise batch norm and evaluation are shared by
engines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch
import torchvision
from torch import Tensor, nn

from bench.nn.backbones import load_backbone
from tasks._detection.c4 import C4Rcnn
from tasks._detection.cascade import CascadeVitRcnn
from tasks._detection.data import Sample, TestSample, batch_images
from tasks._detection.detector import Detections, Detector
from tasks._detection.engines import require
from tasks._detection.fpn import FpnRcnn
from tasks._detection.protocol import DetectionParams
from tasks._detection.retinanet import Retina
from tasks._detection.vitdet import VitRcnn

DETECTORS: dict[str, Callable[..., Detector]] = {
    "fpn": FpnRcnn,
    "c4": C4Rcnn,
    "retinanet": Retina,
    "vitdet": VitRcnn,
    "vitdet_cascade": CascadeVitRcnn,
}
TARGETS = ("boxes", "labels", "masks", "scale", "keypoints", "origin")


class DetectorBackend(Protocol):
    """What an engine must do. Samples are `tasks._detection.data`'s: uint8 images already resized,
    boxes xyxy in that frame, labels 1..K; where the protocol's kinds ask for them, masks in the
    original frame, keypoints in the resized one."""

    name: str
    version: str

    def build(
        self, backbone: str, weights: Path, classes: int, p: DetectionParams, keypoints: int = 0
    ) -> tuple[nn.Module, int]:
        """The detector with the backbone file in it, and how many tensors matched; raises unless
        all did."""
        ...

    def body_parameters(self, model: nn.Module) -> list[nn.Parameter]:
        """The parameters that came from the backbone file, whose rate is `body_lr` times that of
        all others."""
        ...

    def losses(
        self, model: nn.Module, samples: list[Sample], device: torch.device
    ) -> dict[str, Tensor]:
        """The losses of a training batch, to be summed."""
        ...

    def predict(
        self, model: nn.Module, samples: list[TestSample], device: torch.device
    ) -> Detections:
        """Per image boxes (n, 4) in the resized frame, scores, labels 1..K, and maybe
        masks (n, S, S) of the boxes, keypoints (n, k, 3)."""
        ...


class TorchvisionBackend:
    """torchvision's parts with detectron2's semantics."""

    name = "torchvision"
    version = torchvision.__version__

    def build(
        self, backbone: str, weights: Path, classes: int, p: DetectionParams, keypoints: int = 0
    ) -> tuple[nn.Module, int]:
        model = DETECTORS[p.detector](backbone, classes, p, keypoints)
        return model, load_backbone(weights, model.body)

    def body_parameters(self, model: nn.Module) -> list[nn.Parameter]:
        assert isinstance(model, Detector)
        return list(model.body.parameters())

    def losses(
        self, model: nn.Module, samples: list[Sample], device: torch.device
    ) -> dict[str, Tensor]:
        assert isinstance(model, Detector)
        targets = [{k: s[k].to(device) for k in TARGETS if k in s} for s in samples]
        return model.losses(batch_images(samples, device, model.divisor), targets)

    def predict(
        self, model: nn.Module, samples: list[TestSample], device: torch.device
    ) -> Detections:
        assert isinstance(model, Detector)
        return model.detect(batch_images(samples, device, model.divisor))


def select(p: DetectionParams) -> DetectorBackend:
    """The engine that the protocol names; there is no silent fallback to another."""
    if p.engine == "torchvision":
        return TorchvisionBackend()
    require()
    from tasks._detection.detectron2 import Detectron2Backend

    return Detectron2Backend()
