"""BING: binarized normed gradients for objectness (Cheng et al. 2014); supervised, trained from
boxes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

from bench.contracts.needs import Needs
from bench.contracts.proposals import Proposals, ProposalsParams, Proposer
from bench.core.files import write_json
from bench.core.params import param
from bench.core.stage import Stage

if TYPE_CHECKING:
    from bench.contracts.context import StageContext
    from bench.contracts.images import ImageSet
    from bench.contracts.planner import Planner

# what an identity says of a model folder; its content is the key of the input stage
OPENCV = "opencv"


class BingParams(ProposalsParams):
    """The paper's settings. With `model`, only `max_side` and `top` are used besides."""

    model: str | None = param(
        None,
        help="ObjectnessTrainedModel folder of OpenCV's saliency module; none: train from boxes",
    )
    train_on: Literal["data", "scenes"] = param(
        "data", help="whose training boxes: the images' own set, or generated scenes"
    )
    train_images: int = param(
        2501, ge=1, help="most images to train on; the paper's VOC2007 train has 2501"
    )
    per_size: int = param(130, ge=1, help="most windows of a size; OpenCV keeps 250")
    scale_sizes: bool = param(
        True,
        help="window sides 16..512 hold at a short side of 480 and shrink with smaller images; "
        "false: pixels, the paper's",
    )
    top: int = param(1000, ge=1, help="most boxes of an image", search=[10, 100, 1000])

    def identity(self) -> dict[str, Any]:
        """As usual, but a path enters no key."""
        fields = super().identity()
        return {**fields, "model": OPENCV} if self.model is not None else fields


class Bing(Proposals):
    """Windows of 36 sizes, ranked by a linear filter on 8 x 8 normed gradients and a line per
    size.

    Paper 001 takes at most 10 boxes an image from a model trained on the boxes of VOC2007: BING is
    a supervised, class-agnostic detector, and `model.json` says from which boxes. With `model` it
    is OpenCV's BING and model; without, both stages are trained here, on the training split. The
    paper's binary approximation of gradients and filter, a speed-up, is left out here. Recall at
    10 / 100 / 1000 boxes (IoU 0.5) on a 250-image subset of VOC2012 val: trained on a 250-image
    subset of train 0.39 / 0.67 / 0.90, OpenCV's model 0.35 / 0.66 / 0.91.
    """

    Params = BingParams
    params: BingParams
    version = 2  # 1 had a solver of its own, whose scores differ in the eighth digit
    scales = {"tiny": {"train_images": 200, "top": 100}}

    @classmethod
    def data_needs(cls, params: Any) -> Needs:
        learns = params.model is None and params.train_on == "data"
        return Needs(annotations=("objects",) if learns else ())

    def stages(self, plan: Planner, data: Stage) -> dict[str, Stage]:
        p = self.params
        if p.model is not None:
            from methods.proposals.bing.opencv import opencv_stage

            return {"model": opencv_stage(p.model, plan.runtime)}
        source = (plan.learn_from or data) if p.train_on == "data" else plan.data("scenes")
        settings = {
            "split": "train",
            "images": p.train_images,
            "per_size": p.per_size,
            "scale_sizes": p.scale_sizes,
            "max_side": p.max_side,
            "seed": 0,
        }
        return {
            "model": Stage(
                "model",
                "bing",
                self.version,
                settings,
                "methods.proposals.bing.train:run",
                {"data": source},
            )
        }

    def prepare(self, ctx: StageContext, images: ImageSet) -> Proposer:
        """What proposes with the input stage's model, whose `model.json` is repeated."""
        p, folder = self.params, ctx.inputs["model"]
        write_json(ctx.work / "model.json", json.loads((folder / "model.json").read_text()))
        if p.model is not None:
            from methods.proposals.bing.opencv import OpencvProposer

            return OpencvProposer(images, folder, p.max_side, p.top)
        from methods.proposals.bing.ng import BingModel, TrainedProposer

        return TrainedProposer(images, BingModel.load(folder / "model.npz"), p.max_side, p.top)
