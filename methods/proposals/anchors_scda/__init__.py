"""Anchors ranked by a network's activations: the generator of paper 000's coarse crops."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bench.contracts.proposals import Proposals, Proposer
from bench.core.files import write_json
from methods.proposals.anchors_scda.params import AnchorsScdaParams

if TYPE_CHECKING:
    from bench.contracts.context import StageContext
    from bench.contracts.images import ImageSet
    from bench.contracts.planner import Planner
    from bench.core.stage import Stage


class AnchorsScda(Proposals):
    """Paper 000, section 4 (Our-Crop): sum the feature map over channels, scale it to [0, 1] for
    each image, score 12 anchors a cell by the mean of the bilinearly enlarged map, suppress, keep
    the best.

    Taken literally, the mean prefers the smallest window, and nearly all kept anchors have 32
    pixels, which the paper's figures contradict; so `gamma` weighs a score by its area. A constant
    map, or an image smaller than the smallest anchor, gives the image; fewer survivors than asked
    for are what there is.
    """

    Params = AnchorsScdaParams
    params: AnchorsScdaParams
    on_device = True
    scales = {"tiny": {"resize_short": 128, "level": "c4", "gamma": 0.1}}

    @classmethod
    def peer(cls) -> Callable[..., Any]:
        from methods.proposals.anchors_scda.race import races

        return races

    @classmethod
    def figures(cls) -> dict[str, str]:
        return {"scda": "methods.proposals.anchors_scda.figure:run"}

    def stages(self, plan: Planner, data: Stage) -> dict[str, Stage]:
        return {"network": plan.pretrain(self.params.phi, "image", plan.learn_from or data)}

    def prepare(self, ctx: StageContext, images: ImageSet) -> Proposer:
        from bench.stages.pretrain.setup import load_network, pick_device
        from methods.proposals.anchors_scda.scoring import AnchorScorer

        source = ctx.stage.inputs["network"]
        network = load_network(ctx.inputs["network"], source.params, len(images))
        device = pick_device(ctx.runtime.devices).kind
        write_json(
            ctx.work / "model.json",
            {
                "network": source.key,
                "method": source.name,
                "supervised": source.name == "supervised",
            },
        )
        return AnchorScorer(self.params, images, network.to(device), device)
