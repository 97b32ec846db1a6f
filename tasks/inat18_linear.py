"""iNaturalist 2018 linear probe of a frozen backbone at five depths, 84 epochs, best layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from bench.nn.layers import DEPTHS
from bench.params import Params, param
from bench.task import Task
from tasks._frozen.linear import LinearParams, accuracies, accuracy_metrics, run_linear

if TYPE_CHECKING:
    from bench.engine.context import StageContext


class Inat18LinearParams(LinearParams):
    """84 epochs."""

    epochs: int = param(84, ge=1, help="passes over the training images")
    steps: tuple[int, ...] = param((24, 48, 72), help="epochs after which the rate falls by 10")


class Inat18Linear(Task):
    """iNaturalist 2018 linear classification: paper 002 Table 1 (OpenSelfSup's protocol, Goyal et al. 2019).

    Frozen backbone, batch norm in eval mode; on each of conv1 and res2 to res5, pooled to about 9,000
    numbers, a batch norm without affine parameters and a linear classifier. 84 epochs (the rate falls by 10
    after 24, 48 and 72) of random resized crops (.08, 1) and flips. SGD .01, batch 256, momentum .9
    (Nesterov), weight decay 1e-4. Test: short side 256, central 224 x 224. The best layer by test accuracy
    is reported, as in the paper, and each layer beside it. Where the set has scenes, the label is the
    largest object's class."""

    Params: ClassVar[type[Params]] = Inat18LinearParams
    params: Inat18LinearParams
    headline: ClassVar[str] = "top1"
    metrics: ClassVar[dict[str, str]] = accuracy_metrics(DEPTHS)
    data: ClassVar[dict[str, str]] = {"tiny": "scenes", "": "inat18"}
    scales: ClassVar[dict[str, dict[str, Any]]] = {
        "tiny": {"image_size": 64, "resize": 73, "epochs": 6, "steps": (3, 5), "batch_size": 32},
        "small": {"image_size": 128, "resize": 146},
    }

    def run(self, ctx: StageContext) -> dict[str, float]:
        scores, truth = run_linear(ctx, self.params, multi=False)
        return accuracies(scores, truth)
