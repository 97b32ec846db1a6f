"""Mask R-CNN with FPN from torchvision's parts, with detectron2's semantics where the two differ.

Losses are plain L1, proposals are kept per image, RoIAlign is aligned, anchors are not rounded, every layer
trains and every head is batch-normalised (InfoMin setup), initial weights follow detectron2.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import FeaturePyramidNetwork, roi_align
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from bench.nn.backbones import build_backbone
from tasks._detection.anchors import Anchors, pool
from tasks._detection.protocol import DetectionParams

STRIDES = (4, 8, 16, 32, 64)
MASK_SIDE = 28


class Rpn(RegionProposalNetwork):
    """Losses: sums over sampled anchors / (rpn_batch x images); boxes by L1."""

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


class MaskHead(nn.Module):
    """Convolutions, a deconvolution, one 28 x 28 logit map per class (no background)."""

    def __init__(self, channels: int, p: DetectionParams, classes: int) -> None:
        super().__init__()
        self.convs = MaskRCNNHeads(channels, [p.mask_width] * p.mask_convs, 1, norm_layer=nn.BatchNorm2d)
        self.up = nn.ConvTranspose2d(p.mask_width, p.mask_width, 2, 2)
        self.predict = nn.Conv2d(p.mask_width, classes, 1)
        nn.init.kaiming_normal_(self.up.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.predict.weight, std=0.001)
        nn.init.zeros_(self.up.bias)  # type: ignore[arg-type]
        nn.init.zeros_(self.predict.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return self.predict(F.relu(self.up(self.convs(x))))  # type: ignore[no-any-return]


class BoxPredictor(nn.Module):
    """Class scores (0 = background) and per-class box deltas."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.cls_score, self.bbox_pred = nn.Linear(width, classes + 1), nn.Linear(width, (classes + 1) * 4)
        nn.init.normal_(self.cls_score.weight, std=0.01)
        nn.init.normal_(self.bbox_pred.weight, std=0.001)
        nn.init.zeros_(self.cls_score.bias)
        nn.init.zeros_(self.bbox_pred.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.cls_score(x), self.bbox_pred(x)


class MaskRcnn(nn.Module):
    """backbone.body: the ResNet; fpn; rpn; roi: torchvision's sampling and decoding with our heads."""

    def __init__(self, backbone: str, classes: int, p: DetectionParams) -> None:
        super().__init__()
        self.p, self.classes = p, classes
        resnet = build_backbone(backbone)
        self.body = IntermediateLayerGetter(resnet, {f"layer{i + 1}": str(i) for i in range(4)})
        widths = [resnet.feature_dim // 8 * 2**i for i in range(4)]
        self.fpn = FeaturePyramidNetwork(widths, p.fpn, LastLevelMaxPool(), norm_layer=nn.BatchNorm2d)
        self.rpn = Rpn(
            Anchors(p.anchors, STRIDES), RPNHead(p.fpn, 3), 0.7, 0.3, p.rpn_batch, 0.5,
            {"training": p.rpn_train, "testing": p.rpn_test},
            {"training": p.proposals, "testing": p.proposals}, 0.7,
        )  # fmt: skip
        head: nn.Module = FastRCNNConvFCHead(
            (p.fpn, 7, 7), [p.box_width] * p.box_convs, [p.box_fc], norm_layer=nn.BatchNorm2d
        )
        for layer in head.modules():
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_uniform_(layer.weight, a=1)
                nn.init.zeros_(layer.bias)
        self.roi = RoIHeads(
            None, head, BoxPredictor(p.box_fc, classes), 0.5, 0.5, p.rois, 0.25, None, 0.05, 0.5, p.detections
        )
        self.mask = MaskHead(p.fpn, p, classes)

    def features(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) normalised, padded to a multiple of 32 -> five maps, strides 4 to 64."""
        return list(self.fpn(self.body(images)).values())

    def _proposals(
        self, images: ImageList, maps: list[Tensor], targets: list[dict[str, Tensor]] | None
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        named = OrderedDict((str(i), m) for i, m in enumerate(maps))
        return self.rpn(images, named, targets)  # type: ignore[no-any-return]

    def losses(self, images: ImageList, targets: list[dict[str, Any]]) -> dict[str, Tensor]:
        """targets: per image boxes (n, 4) in the padded frame, labels (n,) 1..K, masks (n, H0, W0) uint8 in
        the original frame, scale (2,) from the frame to the original. Returns the five losses."""
        maps = self.features(images.tensors)
        proposals, losses = self._proposals(images, maps, targets)
        chosen, matched, labels, regression = self.roi.select_training_samples(proposals, targets)
        pooled = pool(maps[:4], chosen, 7, self.p.canonical, STRIDES)
        logits, deltas = self.roi.box_predictor(self.roi.box_head(pooled))
        losses |= box_losses(logits, deltas, torch.cat(labels), torch.cat(regression))
        losses["loss_mask"] = self._mask_loss(maps, chosen, matched, labels, targets)
        return losses

    def _mask_loss(
        self, maps: list[Tensor], chosen: list[Tensor], matched: list[Tensor], labels: list[Tensor],
        targets: list[dict[str, Any]],
    ) -> Tensor:  # fmt: skip
        at = [(label > 0).nonzero().flatten() for label in labels]
        boxes = [b[i] for b, i in zip(chosen, at, strict=True)]
        classes = torch.cat([label[i] for label, i in zip(labels, at, strict=True)])
        if len(classes) == 0:
            return maps[0].sum() * 0
        wanted = torch.cat(
            [
                mask_targets(t["masks"].to(b.device), b * t["scale"].repeat(2).to(b), m[i])
                for t, b, m, i in zip(targets, boxes, matched, at, strict=True)
            ]
        )
        logits = self.mask(pool(maps[:4], boxes, 14, self.p.canonical, STRIDES))
        own = logits[torch.arange(len(classes), device=logits.device), classes - 1]
        return F.binary_cross_entropy_with_logits(own, wanted)

    @torch.inference_mode()
    def detect(self, images: ImageList) -> list[dict[str, Tensor]]:
        """Per image boxes (n, 4) in the padded frame, scores (n,), labels (n,) 1..K, masks (n, 28, 28)."""
        maps = self.features(images.tensors)
        proposals, _ = self._proposals(images, maps, None)
        pooled = pool(maps[:4], proposals, 7, self.p.canonical, STRIDES)
        logits, deltas = self.roi.box_predictor(self.roi.box_head(pooled))
        boxes, scores, labels = self.roi.postprocess_detections(logits, deltas, proposals, images.image_sizes)
        masks = self.mask(pool(maps[:4], boxes, 14, self.p.canonical, STRIDES)).sigmoid()
        own = masks[torch.arange(len(masks), device=masks.device), torch.cat(labels) - 1]
        parts = own.split([len(b) for b in boxes])
        return [
            {"boxes": b, "scores": s, "labels": label, "masks": m}
            for b, s, label, m in zip(boxes, scores, labels, parts, strict=True)
        ]


def box_losses(logits: Tensor, deltas: Tensor, labels: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Cross-entropy, mean over sampled RoIs; L1 of the positives' own-class deltas, sum / sampled."""
    positive = (labels > 0).nonzero().flatten()
    own = deltas.view(len(labels), -1, 4)[positive, labels[positive]]
    return {
        "loss_cls": F.cross_entropy(logits, labels),
        "loss_box": F.l1_loss(own, targets[positive], reduction="sum") / max(len(labels), 1),
    }


def mask_targets(masks: Tensor, boxes: Tensor, matched: Tensor) -> Tensor:
    """Binary 28 x 28 targets: the matched masks (n, H, W) sampled in xyxy `boxes` of their frame, >= 0.5."""
    rois = torch.cat([matched[:, None].to(boxes), boxes], 1)
    sampled = roi_align(masks[:, None].float(), rois, MASK_SIDE, 1.0, 0, aligned=True)
    return (sampled[:, 0] >= 0.5).float()


def paste(masks: Tensor, boxes: Tensor, height: int, width: int) -> Tensor:
    """(n, 28, 28) probabilities into their xyxy boxes of a (height, width) image, threshold 0.5: bool."""
    x1, y1, x2, y2 = boxes.unbind(1)
    x = (torch.arange(width, device=boxes.device) + 0.5 - x1[:, None]) / (x2 - x1).clamp(min=1e-6)[:, None]
    y = (torch.arange(height, device=boxes.device) + 0.5 - y1[:, None]) / (y2 - y1).clamp(min=1e-6)[:, None]
    n = len(boxes)
    grid = torch.stack(
        [(2 * x - 1)[:, None].expand(n, height, width), (2 * y - 1)[..., None].expand(n, height, width)], -1
    )
    return F.grid_sample(masks[:, None].float(), grid, align_corners=False)[:, 0] >= 0.5
