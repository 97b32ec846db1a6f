"""RetinaNet with a feature pyramid from torchvision's parts, with detectron2's losses."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.ops import (
    FeaturePyramidNetwork,
    batched_nms,
    box_iou,
    clip_boxes_to_image,
    sigmoid_focal_loss,
)
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from tasks._detection.anchors import Anchors
from tasks._detection.bodies import build_body
from tasks._detection.detector import Detections, Detector, Targets
from tasks._detection.settings import RetinaSettings

STRIDES = (8, 16, 32, 64, 128)
SCORE, OVERLAP = 0.05, 0.5


class Retina(Detector):
    """RetinaNet (Lin et al. 2017): focal loss (alpha .25, gamma 2) and L1 of positives, each a sum
    divided by a moving mean (.9, from 100) of the number of positive anchors in a batch, which is
    part of the state.

    An anchor is positive from IoU .5 or if it is an object's best, background below .4, else not
    used. P6 and P7 come from C5. Classes are one sigmoid each, with prior .01.
    """

    divisor: int = 32
    normaliser: Tensor

    def __init__(self, backbone: str, classes: int, p: RetinaSettings, keypoints: int = 0) -> None:
        super().__init__()
        self.p, self.classes = p, classes
        self.body, (_, *widths) = build_body(backbone)
        top = LastLevelP6P7(widths[-1], p.fpn)
        top.use_P5 = False  # torchvision would take P5 where its width is C5's
        self.fpn = FeaturePyramidNetwork(widths, p.fpn, top, norm_layer=nn.BatchNorm2d)
        steps = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
        self.anchors = Anchors([[size * step for step in steps] for size in p.anchors], STRIDES)
        (count,) = set(self.anchors.num_anchors_per_location())
        norm = partial(nn.GroupNorm, min(32, p.fpn // 2)) if p.head_norm == "gn" else None
        self.head = build_retina_head(p.fpn, count, classes, p.head_convs, norm)
        self.coder = BoxCoder((1.0, 1.0, 1.0, 1.0))
        self.register_buffer("normaliser", torch.tensor(100.0))

    def _run_head(self, images: ImageList) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Logits (B, n, K) and deltas (B, n, 4) of all anchors; the anchors (n_l, 4) of each
        level."""
        maps = self.body(images.tensors)
        levels = list(self.fpn({k: v for k, v in maps.items() if k != "0"}).values())
        out = self.head(levels)
        anchors = [self.anchors.cover(i, features) for i, features in enumerate(levels)]
        return out["cls_logits"], out["bbox_regression"], anchors

    def losses(self, images: ImageList, targets: Targets) -> dict[str, Tensor]:
        logits, deltas, levels = self._run_head(images)
        anchors = torch.cat(levels)
        labels, wanted = zip(
            *(match(anchors, t["boxes"], t["labels"]) for t in targets), strict=True
        )
        label = torch.stack(labels)
        positive = label > 0
        with torch.no_grad():
            self.normaliser.mul_(0.9).add_(0.1 * positive.sum().clamp(min=1))
        used = label >= 0
        hot = F.one_hot(label.clamp(min=0), self.classes + 1)[..., 1:].to(logits)
        cls = sigmoid_focal_loss(logits[used], hot[used], 0.25, 2.0, "sum")
        aims = torch.stack([self.coder.encode_single(w, anchors) for w in wanted])
        box = F.l1_loss(deltas[positive], aims[positive], reduction="sum")
        return {"loss_cls": cls / self.normaliser, "loss_box": box / self.normaliser}

    @torch.inference_mode()
    def detect(self, images: ImageList) -> Detections:
        logits, deltas, levels = self._run_head(images)
        counts = [len(a) for a in levels]
        detections = []
        for scores, moves, size in zip(logits.sigmoid(), deltas, images.image_sizes, strict=True):
            parts = [
                self._choose_candidates(s, d, a)
                for s, d, a in zip(scores.split(counts), moves.split(counts), levels, strict=True)
            ]
            boxes, score, label = (torch.cat(x) for x in zip(*parts, strict=True))
            kept = batched_nms(boxes, score, label, OVERLAP)[: self.p.detections]
            boxes = clip_boxes_to_image(boxes[kept], size)  # after suppression, as detectron2
            detections.append({"boxes": boxes, "scores": score[kept], "labels": label[kept]})
        return detections

    def _choose_candidates(
        self, scores: Tensor, deltas: Tensor, anchors: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The best (anchor, class) pairs of a level: boxes (m, 4), scores, labels 1..K."""
        flat = scores.flatten()
        at = (flat > SCORE).nonzero().flatten()
        best, order = flat[at].topk(min(len(at), self.p.candidates))
        at = at[order]
        row = at // self.classes
        boxes = self.coder.decode_single(deltas[row], anchors[row])
        return boxes, best, at % self.classes + 1


def build_retina_head(
    channels: int, anchors: int, classes: int, convs: int, norm: Any
) -> RetinaNetHead:
    """torchvision's head with `convs` convolutions instead of four, which keep their bias before a
    norm."""
    head = RetinaNetHead(channels, anchors, classes)
    for part in (head.classification_head, head.regression_head):
        part.conv = part.conv[:convs]
        for layer in part.conv if norm else ():
            layer.insert(1, norm(channels))
    return head


def match(anchors: Tensor, boxes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Per anchor its label (1..K, 0 background, -1 not used) and the box (n, 4) matched, its own
    where it is not positive."""
    if len(boxes) == 0:
        return torch.zeros(len(anchors), dtype=torch.long, device=anchors.device), anchors
    matched = Matcher(0.5, 0.4, allow_low_quality_matches=True)(box_iou(boxes, anchors))
    at = matched.clamp(min=0)
    # the matcher's -1: below, -2: between
    label = torch.where(matched >= 0, labels[at], matched + 1)
    return label, torch.where((matched >= 0)[:, None], boxes[at], anchors)
