"""The proposal network: torchvision's, with detectron2's losses and order."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import batched_nms, clip_boxes_to_image

from tasks._detection.anchors import Anchors
from tasks._detection.detector import Targets
from tasks._detection.settings import RpnSettings


class Rpn(RegionProposalNetwork):
    """Losses: sums over sampled anchors / (rpn_batch x images); boxes by L1. Proposals are ordered
    and suppressed by their logits (torchvision: by probabilities, which float32 rounds to ties
    near 1)."""

    def filter_proposals(
        self,
        proposals: Tensor,
        objectness: Tensor,
        image_shapes: list[tuple[int, int]],
        counts: list[int],
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Boxes (m, 4) and logits (m,) per image, best first; counts of anchors per level."""
        logits = objectness.detach().reshape(len(image_shapes), -1)
        levels = torch.cat(
            [logits.new_full((n,), i, dtype=torch.long) for i, n in enumerate(counts)]
        )
        kept_boxes: list[Tensor] = []
        kept_logits: list[Tensor] = []
        rows = self._get_top_n_idx(logits, counts)
        for boxes, scores, at, size in zip(proposals, logits, rows, image_shapes, strict=True):
            clipped = clip_boxes_to_image(boxes[at], size)
            full = (clipped[:, 2:] > clipped[:, :2]).all(1)
            clipped, at = clipped[full], at[full]
            kept = batched_nms(clipped, scores[at], levels[at], self.nms_thresh)[
                : self.post_nms_top_n()
            ]
            kept_boxes.append(clipped[kept])
            kept_logits.append(scores[at][kept])
        return kept_boxes, kept_logits

    def compute_loss(
        self, objectness: Tensor, deltas: Tensor, labels: list[Tensor], targets: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        positive, negative = self.fg_bg_sampler(labels)
        pos = torch.where(torch.cat(positive, 0))[0]
        sampled = torch.cat([pos, torch.where(torch.cat(negative, 0))[0]])
        normaliser = self.fg_bg_sampler.batch_size_per_image * len(labels)
        box = F.l1_loss(deltas[pos], torch.cat(targets)[pos], reduction="sum")
        cls = F.binary_cross_entropy_with_logits(
            objectness.flatten()[sampled], torch.cat(labels)[sampled], reduction="sum"
        )
        return cls / normaliser, box / normaliser


def build_rpn(channels: int, anchors: Anchors, p: RpnSettings) -> Rpn:
    """The proposal network: positive from IoU .7, negative below .3, suppression at .7."""
    (count,) = set(anchors.num_anchors_per_location())
    kept = {"training": p.proposals_train or p.proposals, "testing": p.proposals}
    before = {"training": p.rpn_train, "testing": p.rpn_test}
    head = RPNHead(channels, count, p.rpn_depth)
    return Rpn(anchors, head, 0.7, 0.3, p.rpn_batch, 0.5, before, kept, 0.7)


def propose(
    rpn: Rpn, images: ImageList, maps: list[Tensor], targets: Targets | None
) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Proposals per image, and the losses if there are targets."""
    named = OrderedDict((str(i), m) for i, m in enumerate(maps))
    return rpn(images, named, targets)  # type: ignore[no-any-return]
