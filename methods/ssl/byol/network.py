"""BYOL's networks and loss."""

from __future__ import annotations

from torch import Tensor

from bench.contracts.network import Batch
from bench.nn.byol import OnlineTarget, output_std
from bench.nn.heads import mlp
from methods.ssl.byol.params import ByolParams


class ByolNetwork(OnlineTarget):
    """Online backbone, projector and predictor; the target has no predictor."""

    def __init__(self, params: ByolParams, heads: int = 1) -> None:
        p = params
        super().__init__(p.backbone, p.hidden, p.out, p.ema0, heads, p.init)
        self.predictor = mlp(params.out, params.hidden, params.out)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The sum of both directions, 0 to 8; "std" near 0 means that outputs have collapsed."""
        views = batch.views
        small = [v for role, v in views.items() if role.startswith("small")]
        loss, prediction = self.symmetric(self.predictor, views["view1"], views["view2"], small)
        return {"loss": loss, "std": output_std(prediction)}
