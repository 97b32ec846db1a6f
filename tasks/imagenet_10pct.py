"""ImageNet with 10 % of the labels, fine-tuned end to end: top-1 and top-5 accuracy."""

from __future__ import annotations

from bench.core.params import param
from tasks._classification.protocol import SemiParams
from tasks._classification.task import SMALL, TINY, SemiTask


class Imagenet10PctParams(SemiParams):
    """10 % of the labels, weight decay 0.0001."""

    fraction: float = param(
        0.1, gt=0, le=1, help="Share of the training images whose labels are used, for example 0.1"
    )
    weight_decay: float = param(1e-4, ge=0, help="Weight decay of every parameter")


class Imagenet10Pct(SemiTask):
    """Paper 002's Table 3, 10 %: 20 epochs of 256 images, SGD .01 and 1 for the classifier, times
    .2 after 12 and 16 epochs, weight decay 0.0001, random resized crops (.08, 1) with a flip; a
    central crop at test.

    The published subset is SimCLR's list, `10percent.txt` of its repository:
    `--set imagenet_10pct.subset=FILE`. Without it as many images are drawn, with equal classes.
    """

    Params = Imagenet10PctParams
    params: Imagenet10PctParams
    data = {"tiny": "scenes_objects", "": "imagenet"}
    scales = {
        "tiny": {**TINY, "epochs": 6, "drops": (4, 5), "fraction": 0.5, "head_lr": 10.0},
        "small": {**SMALL, "epochs": 10, "drops": (6, 8)},
    }
