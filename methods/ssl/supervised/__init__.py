"""Supervised: classify which objects an image or crop shows, from the pretraining set's labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.contracts.method import Method
from bench.contracts.needs import Needs
from bench.contracts.views import Viewer
from bench.core.errors import BadData, BadInput
from methods.ssl._tiny import TINY_VIEWS
from methods.ssl.supervised.params import SupervisedParams
from methods.ssl.supervised.views import LabelledView

if TYPE_CHECKING:
    from bench.contracts.crop import Crop
    from bench.contracts.images import ImageSet
    from bench.contracts.network import Network


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
            **TINY_VIEWS,
            "epochs": 150,  # a step has one view and costs a third of the others'
            "classes": 20,
        },
        "small": {
            "backbone": "resnet18",
            "image_size": 128,
            "precision": "bf16",
        },
    }

    @classmethod
    def data_needs(cls, params: Any) -> Needs:
        return Needs(annotations=("objects",))

    def supports(self, crop: type[Crop]) -> str | None:
        if crop.style in ("image", "pseudo"):
            return None
        return (
            "classification looks at one view of a sample; further or paired views would be "
            "ignored"
        )

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
        from methods.ssl.supervised.network import SupervisedNetwork

        return SupervisedNetwork(self.params.backbone, self.params.classes, self.params.init)
