"""BYOL: predict a moving-average target's projection of the other view."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from bench.contracts.method import Method, PretrainParams
from bench.contracts.network import Batch, Network
from bench.contracts.views import Augment, Sample, Source, Viewer, ViewSpec
from bench.core.params import param
from bench.nn.byol import OnlineTarget, output_std
from bench.nn.heads import mlp
from bench.views.sample import BYOL_1, BYOL_2

if TYPE_CHECKING:
    from bench.contracts.images import ImageSet


class ByolParams(PretrainParams):
    """BYOL's settings; the defaults are paper 002's on COCO (section 3.2 and its code's
    configuration)."""

    ema0: float = param(
        0.99,
        ge=0,
        lt=1,
        help="target momentum at step 0 (.996: ImageNet)",
        search=[0.9, 0.99, 0.996, 0.999],
    )
    hidden: int = param(4096, ge=1, help="hidden width of projector and predictor")
    out: int = param(256, ge=1, help="output width of projector and predictor")
    min_scale: float = param(0.08, gt=0, le=1, help="least area of a view, fraction of its source")


@dataclass(frozen=True)
class TwoViews:
    """A random resized crop of each of the two sources: "view1" with BYOL's first recipe (always
    blurred), "view2" with its second (rarely blurred, sometimes solarised). Multi-crop's small
    sources become "small1", "small2", ... with the two recipes in turn. A source's own scale and
    size win."""

    size: int
    scale: tuple[float, float]

    def __call__(self, sources: list[Source], rng: np.random.Generator) -> Sample:
        first, second = [s for s in sources if s.role == "view"][:2]
        views = [self._view("view1", first, BYOL_1), self._view("view2", second, BYOL_2)]
        small = [s for s in sources if s.role == "small"]
        views += [
            self._view(f"small{i + 1}", s, (BYOL_1, BYOL_2)[i % 2]) for i, s in enumerate(small)
        ]
        return Sample(views)

    def _view(self, role: str, source: Source, augment: Augment) -> ViewSpec:
        return ViewSpec(
            role=role,
            image=source.image,
            box=source.box,
            size=source.size or self.size,
            augment=augment,
            scale=source.scale or self.scale,
            kind=source.kind,
        )


class ByolNetwork(OnlineTarget):
    """Online backbone, projector and predictor; the target has no predictor."""

    def __init__(self, params: ByolParams, heads: int = 1) -> None:
        super().__init__(params.backbone, params.hidden, params.out, params.ema0, heads)
        self.predictor = mlp(params.out, params.hidden, params.out)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The sum of both directions, 0 to 8; "std" near 0 means that the outputs have collapsed."""
        views = batch.views
        small = [v for role, v in views.items() if role.startswith("small")]
        loss, prediction = self.symmetric(self.predictor, views["view1"], views["view2"], small)
        return {"loss": loss, "std": output_std(prediction)}


class Byol(Method):
    """Bootstrap Your Own Latent (Grill et al. 2020), as papers 000 and 002 train it on COCO.

    L = [2 - 2 cos(q(g(f(x1))), g'(f'(x2)))] + [2 - 2 cos(q(g(f(x2))), g'(f'(x1)))], each the mean
    over the batch (equation 2, both directions summed), f, g, q the online backbone, projector and
    predictor, f', g' their moving averages without gradient. Defaults: SGD, rate 0.2 x 512/256,
    weight decay 1e-4 on everything, 800 epochs, cosine per epoch after 4 epochs of warm-up, target
    momentum 0.99 to 1. COCO box AP (Mask R-CNN R50-FPN 1x): 39.5 after 800 epochs (paper 002,
    Table 4), 38.8 after 400 (paper 000, Table 3). VOC07 linear SVM: 84.5 mAP (paper 002, Table 1).
    """

    Params = ByolParams
    params: ByolParams
    usual = True
    scales = {
        "tiny": {
            "backbone": "resnet18",
            "image_size": 64,
            "epochs": 9,
            "batch_size": 32,
            "optimizer": "adamw",
            "lr": 0.008,
            "warmup_epochs": 1.0,
            "lr_step": "iter",
            "min_scale": 0.7,
            "hidden": 512,
            "out": 128,
            "ema0": 0.9,  # 90 steps: at .99 the target would hardly leave its random weights
        },
        "small": {
            "backbone": "resnet18",
            "image_size": 128,
            "epochs": 200,
            "batch_size": 256,
            "hidden": 2048,
            "out": 256,
            "precision": "bf16",
        },
    }

    @classmethod
    def peer(cls) -> Callable[..., Any]:
        from methods.ssl._lightly import byol

        return byol

    def viewer(self, images: ImageSet, inputs: dict[str, Path]) -> Viewer:
        return TwoViews(self.params.image_size, (self.params.min_scale, 1.0))

    def network(self, n_images: int, heads: int = 1) -> Network:
        return ByolNetwork(self.params, heads)
