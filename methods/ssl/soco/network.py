"""SoCo's networks and loss."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from bench.contracts.network import Batch, Network
from bench.nn.backbones import build_backbone
from bench.nn.byol import output_std
from bench.nn.ema import cosine_momentum, ema_update
from bench.nn.fpn import level_of
from methods.ssl.soco.branch import RoiBranch, two_layers, whole_pixels
from methods.ssl.soco.cutout import cutout
from methods.ssl.soco.losses import correspondence, own_level, soco_loss
from methods.ssl.soco.params import SocoParams


class SocoNetwork(Network):
    """Online backbone, pyramid, head, projector and predictor; the target has all but the
    predictor."""

    def __init__(self, params: SocoParams, heads: int = 1) -> None:
        super().__init__()
        online = build_backbone(params.backbone, params.init)
        self.params_ = params
        self.backbone: nn.Module = online
        self.branch = RoiBranch(
            online.feature_dim, params.fpn, params.fc, params.hidden, params.out, heads
        )
        self.predictor = two_layers(params.out, params.hidden, params.out)
        self.target_backbone = copy.deepcopy(self.backbone).requires_grad_(False)
        self.target_branch = copy.deepcopy(self.branch).requires_grad_(False)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The four directions of the pairs 1-2 and 1-3 summed, -8 to 8 (0 without a matching
        box)."""

        p, boxes, ids = self.params_, batch.extra["boxes"], batch.extra["ids"]
        levels = self._levels(boxes)
        views = self._views(batch)
        # View 1 is forwarded once, with the boxes of both pairs.
        which = {"view1": [0, 2], "view2": [1], "view3": [3]}
        predicted: dict[int, Tensor] = {}
        aimed: dict[int, Tensor] = {}
        for role, rows in which.items():
            at, own = (torch.cat([x[:, r] for r in rows], 1) for x in (boxes, levels))
            objects = batch.views[role].objects
            online = self.branch(self.backbone, views[role], at, objects)
            with torch.no_grad():
                target = self.target_branch(self.target_backbone, views[role], at, objects)
            guess = torch.stack([self.predictor(z.flatten(0, 1)).view_as(z) for z in online])
            predicted |= dict(zip(rows, own_level(guess, own).split(p.boxes, 1), strict=True))
            aimed |= dict(zip(rows, own_level(target, own).split(p.boxes, 1), strict=True))
        losses, matched = [], []
        for a, b in ((0, 1), (2, 3)):
            corr = correspondence(
                ids[:, a], ids[:, b], levels[:, a], levels[:, b], p.levels == "same"
            )
            both = soco_loss(predicted[a], aimed[b], corr)
            losses.append(both + soco_loss(predicted[b], aimed[a], corr.transpose(1, 2)))
            matched.append((corr.sum((1, 2)) > 0).float().mean())
        return {
            "loss": losses[0] + losses[1],
            "loss12": losses[0],
            "loss13": losses[1],
            "matched12": matched[0],
            "matched13": matched[1],
            "std": output_std(predicted[0].detach().flatten(0, 1)),
        }

    def _levels(self, boxes: Tensor) -> Tensor:
        whole = whole_pixels(boxes)
        return level_of(whole, self.params_.image_size, self.params_.thresholds)

    def _views(self, batch: Batch) -> dict[str, Tensor]:
        """The views' images, cut out inside the boxes of views 2 and 3, or of view 2 alone."""
        p, images = self.params_, {role: v.images for role, v in batch.views.items()}
        for role, row in (("view2", 1), ("view3", 3))[: 2 if p.cutout_views == "both" else 1]:
            images[role] = cutout(images[role], batch.extra["boxes"][:, row], p.cutout_p, p.cutout)
        return images

    def after_step(self, step: int, total_steps: int) -> None:
        """Move the target: parameters only, momentum from `ema0` to 1 by a cosine."""
        momentum = cosine_momentum(step, total_steps, self.params_.ema0)
        ema_update(self.target_backbone, self.backbone, momentum)
        ema_update(self.target_branch, self.branch, momentum)

    def embed(self, images: Tensor) -> Tensor:
        """Online projections of one box, the whole image; call in eval mode."""
        side = images.shape[-1]
        boxes = images.new_tensor([0, 0, side, images.shape[-2]]).expand(len(images), 1, 4)
        return own_level(self.branch(self.backbone, images, boxes, None), self._levels(boxes))[
            :, 0
        ]
