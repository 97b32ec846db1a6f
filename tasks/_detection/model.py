"""R-CNNs from torchvision's parts, with detectron2's semantics where the two differ.

Losses are plain L1, proposals are kept per image, RoIAlign is aligned, anchors are not rounded,
every layer trains and every head is batch-normalised (InfoMin setup), initial weights follow
detectron2.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads, KeypointRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads
from torchvision.models.detection.roi_heads import (
    RoIHeads,
    keypointrcnn_inference,
    keypointrcnn_loss,
)
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead
from torchvision.ops import FeaturePyramidNetwork, batched_nms, clip_boxes_to_image, roi_align
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from bench.nn.backbones import build_backbone
from tasks._detection.anchors import Anchors, pool
from tasks._detection.protocol import FpnParams, RpnParams

STRIDES = (4, 8, 16, 32, 64)
MASK_SIDE = 28
Targets = list[dict[str, Any]]
Found = list[dict[str, Tensor]]


class Detector(nn.Module):
    """A network that the engine can train. `body`: the whole backbone, whose tensors must all
    match a file. `divisor`: image sides are padded to multiples of it."""

    divisor: int = 32
    body: nn.Module

    def losses(self, images: ImageList, targets: Targets) -> dict[str, Tensor]:
        """The losses of a batch, to be summed. targets: per image boxes (n, 4) in the padded
        frame, labels (n,) 1..K, scale (2,) from the frame to the original; as the protocol's kinds
        say, masks (n, H0, W0) uint8 in the original frame, keypoints (n, k, 3) in the padded
        frame."""
        raise NotImplementedError

    def detect(self, images: ImageList) -> Found:
        """Per image boxes (n, 4) in the padded frame, scores (n,), labels (n,) 1..K, and maybe
        masks (n, 28, 28) or (n, 14, 14) of the boxes, or keypoints (n, k, 3) in the padded frame.
        """
        raise NotImplementedError


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
        found: tuple[list[Tensor], list[Tensor]] = ([], [])
        rows = self._get_top_n_idx(logits, counts)
        for boxes, scores, at, size in zip(proposals, logits, rows, image_shapes, strict=True):
            clipped = clip_boxes_to_image(boxes[at], size)
            full = (clipped[:, 2:] > clipped[:, :2]).all(1)
            clipped, at = clipped[full], at[full]
            kept = batched_nms(clipped, scores[at], levels[at], self.nms_thresh)[
                : self.post_nms_top_n()
            ]
            found[0].append(clipped[kept])
            found[1].append(scores[at][kept])
        return found

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


def rpn_for(channels: int, anchors: Anchors, p: RpnParams) -> Rpn:
    """The proposal network: positive from IoU .7, negative below .3, suppression at .7."""
    (count,) = set(anchors.num_anchors_per_location())
    kept = {"training": p.proposals_train or p.proposals, "testing": p.proposals}
    before = {"training": p.rpn_train, "testing": p.rpn_test}
    head = RPNHead(channels, count, getattr(p, "rpn_convs", 1))
    return Rpn(anchors, head, 0.7, 0.3, p.rpn_batch, 0.5, before, kept, 0.7)


def propose(
    rpn: Rpn, images: ImageList, maps: list[Tensor], targets: Targets | None
) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Proposals per image, and the losses if there are targets."""
    named = OrderedDict((str(i), m) for i, m in enumerate(maps))
    return rpn(images, named, targets)  # type: ignore[no-any-return]


def roi_heads(head: nn.Module, predictor: nn.Module, p: RpnParams) -> RoIHeads:
    """torchvision's sampling (a quarter positive, from IoU .5), decoding and suppression."""
    return RoIHeads(None, head, predictor, 0.5, 0.5, p.rois, 0.25, None, 0.05, 0.5, p.detections)


class MaskHead(nn.Module):
    """Convolutions, a deconvolution, one logit map per class (no background), twice the size of
    the input."""

    def __init__(
        self, channels: int, convs: int, width: int, classes: int, norm: Any = nn.BatchNorm2d
    ) -> None:
        super().__init__()
        self.convs = MaskRCNNHeads(channels, [width] * convs, 1, norm_layer=norm)
        self.up = nn.ConvTranspose2d(width if convs else channels, width, 2, 2)
        self.predict = nn.Conv2d(width, classes, 1)
        nn.init.kaiming_normal_(self.up.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.predict.weight, std=0.001)
        nn.init.zeros_(self.up.bias)  # type: ignore[arg-type]
        nn.init.zeros_(self.predict.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return self.predict(F.relu(self.up(self.convs(x))))  # type: ignore[no-any-return]


class BoxPredictor(nn.Module):
    """Class scores (0 = background) and box deltas, of each class or shared by all."""

    def __init__(self, width: int, classes: int, shared: bool = False) -> None:
        super().__init__()
        boxes = 1 if shared else classes + 1
        self.cls_score, self.bbox_pred = nn.Linear(width, classes + 1), nn.Linear(width, boxes * 4)
        nn.init.normal_(self.cls_score.weight, std=0.01)
        nn.init.normal_(self.bbox_pred.weight, std=0.001)
        nn.init.zeros_(self.cls_score.bias)
        nn.init.zeros_(self.bbox_pred.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.cls_score(x), self.bbox_pred(x)


class FpnRcnn(Detector):
    """Faster R-CNN with a feature pyramid, and a mask or keypoint head where the protocol has one.

    body: the ResNet; fpn; rpn; roi: torchvision's sampling and decoding with our heads. `strides`:
    of the five levels. `norm`: in the heads."""

    strides: tuple[int, ...] = STRIDES
    norm: Any = nn.BatchNorm2d

    def __init__(self, backbone: str, classes: int, p: Any, keypoints: int = 0) -> None:
        super().__init__()
        self.p, self.classes = p, classes
        self._pyramid(backbone)
        self.rpn = rpn_for(p.fpn, Anchors(p.anchors, self.strides), p)
        self.roi = roi_heads(box_head(p, self.norm), BoxPredictor(p.box_fc, classes), p)
        if "segm" in p.kinds:
            self.mask = MaskHead(p.fpn, p.mask_convs, p.mask_width, classes, self.norm)
        if "keypoints" in p.kinds:
            self.keypoints = KeypointHead(p.fpn, p.keypoint_convs, p.keypoint_width, keypoints)

    def _pyramid(self, backbone: str) -> None:
        resnet = build_backbone(backbone)
        self.body = IntermediateLayerGetter(resnet, {f"layer{i + 1}": str(i) for i in range(4)})
        widths = [resnet.feature_dim // 8 * 2**i for i in range(4)]
        self.fpn = FeaturePyramidNetwork(
            widths, self.p.fpn, LastLevelMaxPool(), norm_layer=nn.BatchNorm2d
        )

    def features(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) normalised, padded to a multiple of 32 -> five maps, strides 4 to 64."""
        return list(self.fpn(self.body(images)).values())

    def losses(self, images: ImageList, targets: Targets) -> dict[str, Tensor]:
        maps = self.features(images.tensors)
        proposals, losses = propose(self.rpn, images, maps, targets)
        sampled = Sampled(*self.roi.select_training_samples(proposals, targets))
        losses |= self.box_stage(maps, sampled, targets, images.image_sizes)
        return losses | self._head_losses(maps, sampled.positive(), targets)

    def box_stage(
        self, maps: list[Tensor], sampled: Sampled, targets: Targets, sizes: list[tuple[int, int]]
    ) -> dict[str, Tensor]:
        """The losses of the box head on sampled proposals; sizes (height, width) of the images."""
        logits, deltas = self.roi.box_predictor(
            self.roi.box_head(self.pooled(maps, sampled.boxes, 7))
        )
        labels, wanted = torch.cat(sampled.labels), torch.cat(sampled.deltas)
        return box_losses(logits, deltas, labels, wanted, getattr(self.p, "box_beta", 0.0))

    def box_detect(
        self, maps: list[Tensor], proposals: list[Tensor], sizes: list[tuple[int, int]]
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Boxes, scores and labels per image."""
        logits, deltas = self.roi.box_predictor(self.roi.box_head(self.pooled(maps, proposals, 7)))
        found = self.roi.postprocess_detections(logits, deltas, proposals, sizes)
        return found  # type: ignore[no-any-return]

    def pooled(self, maps: list[Tensor], boxes: list[Tensor], size: int) -> Tensor:
        """(n, C, size, size), each box from its level of the pyramid."""
        return pool(maps[:4], boxes, size, self.p.canonical, self.strides)

    def _head_losses(
        self, maps: list[Tensor], positive: Sampled, targets: Targets
    ) -> dict[str, Tensor]:
        losses = {}
        if "segm" in self.p.kinds:
            losses["loss_mask"] = maps[0].sum() * 0
            if sum(map(len, positive.boxes)):
                logits = self.mask(self.pooled(maps, positive.boxes, 14))
                losses["loss_mask"] = mask_loss(logits, positive, targets)
        if "keypoints" in self.p.kinds:
            logits = self.keypoints(self.pooled(maps, positive.boxes, 14))
            points = [t["keypoints"] for t in targets]
            losses["loss_keypoint"] = keypointrcnn_loss(
                logits, positive.boxes, points, positive.matched
            )
        return losses

    @torch.inference_mode()
    def detect(self, images: ImageList) -> Found:
        maps = self.features(images.tensors)
        proposals, _ = propose(self.rpn, images, maps, None)
        boxes, scores, labels = self.box_detect(maps, proposals, images.image_sizes)
        found = [
            {"boxes": b, "scores": s, "labels": n}
            for b, s, n in zip(boxes, scores, labels, strict=True)
        ]
        if "segm" in self.p.kinds:
            add_masks(found, self.mask(self.pooled(maps, boxes, 14)))
        if "keypoints" in self.p.kinds:
            points, _ = keypointrcnn_inference(self.keypoints(self.pooled(maps, boxes, 14)), boxes)
            for one, place in zip(found, points, strict=True):
                one["keypoints"] = place
        return found


class KeypointHead(nn.Module):
    """Convolutions, a deconvolution and bilinear interpolation: (n, C, 14, 14) -> (n, keypoints,
    56, 56) logits, one softmax per keypoint (He et al. 2017, section 5)."""

    def __init__(self, channels: int, convs: int, width: int, keypoints: int) -> None:
        super().__init__()
        self.convs = KeypointRCNNHeads(channels, (width,) * convs)
        self.predict = KeypointRCNNPredictor(width, keypoints)

    def forward(self, x: Tensor) -> Tensor:
        return self.predict(self.convs(x)).contiguous()  # type: ignore[no-any-return]


def box_head(p: FpnParams, norm: Any = nn.BatchNorm2d) -> nn.Module:
    """(n, fpn, 7, 7) -> (n, box_fc): convolutions with norm, then fully connected layers."""
    head = FastRCNNConvFCHead(
        (p.fpn, 7, 7), [p.box_width] * p.box_convs, [p.box_fc] * p.box_fcs, norm_layer=norm
    )
    for layer in head.modules():
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_uniform_(layer.weight, a=1)
            nn.init.zeros_(layer.bias)
    return head


@dataclass(frozen=True)
class Sampled:
    """Sampled proposals per image: xyxy boxes, the object matched, its label (0 = background), its
    deltas."""

    boxes: list[Tensor]
    matched: list[Tensor]
    labels: list[Tensor]
    deltas: list[Tensor]

    def positive(self) -> Sampled:
        """Those that are no background."""
        at = [(label > 0).nonzero().flatten() for label in self.labels]
        parts = (self.boxes, self.matched, self.labels, self.deltas)
        return Sampled(*([t[i] for t, i in zip(part, at, strict=True)] for part in parts))


def box_losses(
    logits: Tensor, deltas: Tensor, labels: Tensor, targets: Tensor, beta: float = 0.0
) -> dict[str, Tensor]:
    """Cross-entropy, mean over sampled RoIs; smooth L1 (beta 0: L1) of the positives' own-class
    deltas, sum / sampled. deltas (n, 4) are shared by the classes, (n, 4 x classes) are not."""
    positive = (labels > 0).nonzero().flatten()
    per_class = deltas.view(len(labels), -1, 4)
    own = per_class[positive, labels[positive] if per_class.shape[1] > 1 else 0]
    box = F.smooth_l1_loss(own, targets[positive], reduction="sum", beta=beta)
    # a mean of nothing is no number
    cls = F.cross_entropy(logits, labels) if len(labels) else logits.sum()
    return {"loss_cls": cls, "loss_box": box / max(len(labels), 1)}


def mask_loss(logits: Tensor, positive: Sampled, targets: Targets) -> Tensor:
    """Binary cross-entropy of the own class's map (n, K, S, S) with the matched mask, mean over
    pixels."""
    classes = torch.cat(positive.labels)
    wanted = torch.cat(
        [
            mask_targets(t["masks"].to(b.device), to_source(b, t), m, logits.shape[-1])
            for t, b, m in zip(targets, positive.boxes, positive.matched, strict=True)
        ]
    )
    own = logits[torch.arange(len(classes), device=logits.device), classes - 1]
    return F.binary_cross_entropy_with_logits(own, wanted)


def to_source(boxes: Tensor, target: dict[str, Any]) -> Tensor:
    """xyxy boxes of the padded frame in the original frame of the masks: times `scale`, plus
    `origin` (2,), the place of the frame's corner, where the frame is a crop."""
    found = boxes * target["scale"].repeat(2).to(boxes)
    return found + target["origin"].repeat(2).to(boxes) if "origin" in target else found


def add_masks(found: Found, logits: Tensor) -> None:
    """Give each detection the probabilities of its own class's map."""
    labels = torch.cat([one["labels"] for one in found])
    own = logits.sigmoid()[torch.arange(len(labels), device=logits.device), labels - 1]
    for one, part in zip(found, own.split([len(one["labels"]) for one in found]), strict=True):
        one["masks"] = part


def mask_targets(masks: Tensor, boxes: Tensor, matched: Tensor, side: int = MASK_SIDE) -> Tensor:
    """Binary (n, side, side) targets: the matched masks (n, H, W) sampled in xyxy `boxes` of their
    frame, >= 0.5."""
    rois = torch.cat([matched[:, None].to(boxes), boxes], 1)
    sampled = roi_align(masks[:, None].float(), rois, side, 1.0, 0, aligned=True)
    return (sampled[:, 0] >= 0.5).float()


def paste(masks: Tensor, boxes: Tensor, height: int, width: int) -> Tensor:
    """(n, S, S) probabilities into their xyxy boxes of a (height, width) image, threshold 0.5:
    bool."""
    x1, y1, x2, y2 = boxes.unbind(1)
    x = (torch.arange(width, device=boxes.device) + 0.5 - x1[:, None]) / (x2 - x1).clamp(min=1e-6)[
        :, None
    ]
    y = (torch.arange(height, device=boxes.device) + 0.5 - y1[:, None]) / (y2 - y1).clamp(
        min=1e-6
    )[:, None]
    n = len(boxes)
    grid = torch.stack(
        [
            (2 * x - 1)[:, None].expand(n, height, width),
            (2 * y - 1)[..., None].expand(n, height, width),
        ],
        -1,
    )
    return F.grid_sample(masks[:, None].float(), grid, align_corners=False)[:, 0] >= 0.5
