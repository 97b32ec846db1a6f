"""ORL's networks and loss."""

from __future__ import annotations

from torch import Tensor

from bench.contracts.network import Batch
from bench.nn.byol import OnlineTarget, output_std
from bench.nn.heads import mlp
from methods.ssl.orl.params import OrlParams


class OrlNetwork(OnlineTarget):
    """One backbone and projector for all views; a predictor each for global, intra and inter."""

    def __init__(self, params: OrlParams, heads: int = 1) -> None:
        p = params
        super().__init__(p.backbone, p.hidden, p.out, p.ema0, heads, p.init)
        self.weights = {
            "global": params.lambda_global,
            "intra": params.lambda_intra,
            "inter": params.lambda_inter,
        }
        self.predictor_global = mlp(params.out, params.hidden, params.out)
        self.predictor_intra = mlp(params.out, params.hidden, params.out)
        self.predictor_inter = mlp(params.out, params.hidden, params.out)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """L = l1 L_global + l2 L_intra + l3 L_inter (equation 2), each 0 to 8; six tensors are
        forwarded separately, so that batch-norm statistics are per branch and view."""
        views = batch.views
        parts: dict[str, Tensor] = {}
        small = [v for role, v in views.items() if role.startswith("small")]
        parts["global"], prediction = self.symmetric(
            self.predictor_global, views["view1"], views["view2"], small
        )
        parts["intra"], _ = self.symmetric(
            self.predictor_intra, views["ipatch1"], views["ipatch2"]
        )
        parts["inter"], _ = self.symmetric(
            self.predictor_inter, views["kpatch1"], views["kpatch2"]
        )
        total = sum(
            (self.weights[n] * part for n, part in parts.items()),
            start=parts["global"].new_zeros(()),
        )
        return {"loss": total, **parts, "std": output_std(prediction)}
