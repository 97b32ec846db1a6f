"""ImageNet with 1 % of the labels, fine-tuned end to end: top-1 and top-5 accuracy."""

from __future__ import annotations

from bench.core.params import param
from tasks._classification.protocol import SemiParams
from tasks._classification.task import SMALL, TINY, SemiTask


class Imagenet1PctParams(SemiParams):
    """1 % of the labels, weight decay 0."""

    fraction: float = param(
        0.01,
        gt=0,
        le=1,
        help="Share of the training images whose labels are used, for example 0.1",
    )
    weight_decay: float = param(0.0, ge=0, help="Weight decay of every parameter")


class Imagenet1Pct(SemiTask):
    """Paper 002's Table 3, 1 %: 20 epochs of 256 images, SGD .01 and 1 for the classifier, times
    .2 after 12 and 16 epochs, weight decay 0, random resized crops (.08, 1) with a flip; a central
    crop at test.

    The published subset is SimCLR's list, `1percent.txt` of its repository:
    `--set imagenet_1pct.subset=FILE`. Without it as many images are drawn, with equal classes.
    """

    Params = Imagenet1PctParams
    params: Imagenet1PctParams
    data = {"tiny": "scenes_objects", "": "imagenet"}
    scales = {
        "tiny": {**TINY, "epochs": 6, "drops": (4, 5), "fraction": 0.25, "head_lr": 10.0},
        "small": {**SMALL, "epochs": 10, "drops": (6, 8)},
    }
