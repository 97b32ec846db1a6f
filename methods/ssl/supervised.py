"""Supervised: classify which objects an image or crop shows, from the pretraining set's labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contracts.method import Method, PretrainParams
from bench.contracts.network import Batch, Network
from bench.contracts.views import Augment, Box, Sample, Source, Viewer, ViewSpec
from bench.core.errors import BadData, BadInput
from bench.core.params import param
from bench.nn.byol import output_std

if TYPE_CHECKING:
    from bench.contracts.crop import Crop
    from bench.contracts.images import ImageSet, Objects


class SupervisedParams(PretrainParams):
    """ImageNet's usual recipe (He et al. 2016), our choice for scenes: the papers only cite its
    weights."""

    epochs: int = param(90, ge=1, help="passes over the crop's samples", search=["int", 1, 800])
    batch_size: int = param(256, ge=2, help="images per optimiser step over all devices")
    optimizer: Literal["sgd", "lars", "adamw"] = param("sgd")
    lr: float = param(
        0.1, gt=0, help="for 256 images; scaled by batch_size/256", search=["log", 1e-3, 1.0]
    )
    warmup_epochs: float = param(0.0, ge=0, help="epochs of linear warm-up")
    classes: int = param(80, ge=1, help="classes of the pretraining set (COCO 80, scenes 20)")
    min_visible: float = param(
        0.5, gt=0, le=1, help="share of an object's box that a crop must hold to have its label"
    )
    min_scale: float = param(0.08, gt=0, le=1, help="least area of a view, fraction of its source")


def objects_present(
    objects: Objects, box: Box | None, classes: int, min_visible: float
) -> np.ndarray:
    """(classes,) float32, 1 for each class with an object of which at least `min_visible` of the
    (bounding box's) area lies in `box` (xyxy pixels; None: the whole image, so every object
    counts)."""
    found = np.zeros(classes, np.float32)
    keep = np.ones(len(objects.labels), bool)
    if box is not None and len(keep):
        boxes = objects.boxes.astype(np.float64)
        low = np.maximum(boxes[:, :2], box[:2])
        inside = np.clip(np.minimum(boxes[:, 2:], box[2:]) - low, 0, None).prod(1)
        keep = inside >= min_visible * (boxes[:, 2:] - boxes[:, :2]).prod(1)
    found[objects.labels[keep]] = 1
    return found


@dataclass(frozen=True)
class LabelledView:
    """A random resized crop of the first source with a flip, and the source's classes as extra
    "present" (classes,). As on ImageNet the label is the source's even where the random crop
    misses the object."""

    images: ImageSet
    size: int
    scale: tuple[float, float]
    min_visible: float

    def __call__(self, sources: list[Source], rng: np.random.Generator) -> Sample:
        s = sources[0]
        scale = s.scale or self.scale
        view = ViewSpec("view1", s.image, s.box, self.size, Augment(), scale, kind=s.kind)
        objects = self.images.objects(s.image)
        labels = objects_present(objects, s.box, len(self.images.classes), self.min_visible)
        return Sample([view], {"present": labels})


def classification_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy summed over classes, mean over images. logits, labels: (B, K), labels 0
    or 1."""
    return F.binary_cross_entropy_with_logits(logits.float(), labels, reduction="sum") / len(
        logits
    )


class SupervisedNetwork(Network):
    """A backbone and a linear classifier of its pooled features."""

    def __init__(self, backbone: str, classes: int) -> None:
        super().__init__()
        # torchvision takes a second; plans need none
        from bench.nn.backbones import build_backbone

        made = build_backbone(backbone)
        self.backbone: nn.Module = made
        self.classifier = nn.Linear(made.feature_dim, classes)
        nn.init.normal_(self.classifier.weight, std=0.01)
        # Every class starts at probability .01, so that the many absent ones do not swamp the
        # first steps (Lin et al. 2017, section 3.3).
        nn.init.constant_(self.classifier.bias, -float(np.log(99)))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """`classification_loss`, and "precision", the share of samples whose best class is
        present."""
        labels = batch.extra["present"]
        features = self.backbone(batch.views["view1"].images)
        logits = self.classifier(features)
        with torch.no_grad():
            precision = labels.gather(1, logits.argmax(1, keepdim=True)).mean()
        return {
            "loss": classification_loss(logits, labels),
            "precision": precision,
            "std": output_std(features),
        }

    def embed(self, images: Tensor) -> Tensor:
        """Pooled features."""
        return self.backbone(images)  # type: ignore[no-any-return]


class Supervised(Method):
    """Supervised pretraining: multi-label classification with the annotations of the pretraining
    set.

    L = mean_n sum_c BCE(w_c f(x_n) + b_c, y_nc), y_nc = 1 if the image (or the crop: at least half
    of the object's box) has an object of class c; crowds and difficult objects count. One view:
    random resized crop (.08, 1) and flip. SGD .1 x B/256, momentum .9, weight decay 1e-4, 90
    epochs, as on ImageNet, but with a cosine for the rate. The papers' "supervised" rows are
    ImageNet weights (76.1 % top-1, not made here), except paper 001's on OpenImages (Table 1, 66.3
    mAP: Adam 1e-3, 90 epochs).
    """

    Params = SupervisedParams
    params: SupervisedParams
    scales = {
        "tiny": {
            "backbone": "resnet18",
            "image_size": 64,
            "epochs": 18,
            "batch_size": 32,
            "classes": 20,
            "optimizer": "adamw",
            "lr": 0.008,
            "warmup_epochs": 1.0,
            "lr_step": "iter",
            "min_scale": 0.7,
        },
        "small": {
            "backbone": "resnet18",
            "image_size": 128,
            "precision": "bf16",
        },
    }

    def supports(self, crop: type[Crop]) -> str | None:
        if crop.style in ("image", "pseudo"):
            return None
        return "classification looks at one view of a sample; further or paired views would be ignored"

    def viewer(self, images: ImageSet, inputs: dict[str, Path]) -> Viewer:
        p = self.params
        if not images.classes:
            raise BadData(
                f"{images.name}/{images.split} has no labels to learn from; pretrain on another "
                "set: --data"
            )
        if len(images.classes) != p.classes:
            raise BadInput(
                f"{images.name} has {len(images.classes)} classes, {self.name}.classes is "
                f"{p.classes}; "
                f"try: --set {self.name}.classes={len(images.classes)}"
            )
        images.objects(0)  # raises BadData here, not in a worker, where a set has no annotations
        return LabelledView(images, p.image_size, (p.min_scale, 1.0), p.min_visible)

    def network(self, n_images: int, heads: int = 1) -> Network:
        return SupervisedNetwork(self.params.backbone, self.params.classes)
