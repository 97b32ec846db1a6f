"""Cascade R-CNN's box heads on torchvision's parts, with detectron2's semantics."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import batched_nms, box_iou, clip_boxes_to_image

from tasks._detection.detector import Target, Targets
from tasks._detection.heads import BoxPredictor, build_box_head
from tasks._detection.losses import Sampled, box_losses
from tasks._detection.settings import VitDetSettings
from tasks._detection.vitdet import VitRcnn

OVERLAPS = (0.5, 0.6, 0.7)
WEIGHTS = ((10.0, 10.0, 5.0, 5.0), (20.0, 20.0, 10.0, 10.0), (30.0, 30.0, 15.0, 15.0))
SCORE, SUPPRESS = 0.05, 0.5


def cascade_targets(
    boxes: Tensor, target: Target, overlap: float, coder: BoxCoder
) -> tuple[Tensor, Tensor]:
    """Labels (n,) and deltas (n, 4) of a stage's boxes (n, 4): the object of the highest IoU, if
    that is at least `overlap`, else background 0 (Cai and Vasconcelos 2018, section 3.2)."""
    if len(target["boxes"]) == 0:
        return torch.zeros(len(boxes), dtype=torch.long, device=boxes.device), torch.zeros_like(
            boxes
        )
    best, at = box_iou(target["boxes"], boxes).max(0)
    labels = torch.where(best >= overlap, target["labels"][at], 0)
    return labels, coder.encode_single(target["boxes"][at], boxes)


def scale_gradient(x: Tensor, factor: float) -> Tensor:
    """x, whose gradient is multiplied by factor."""
    return x * factor + x.detach() * (1 - factor)


class CascadeVitRcnn(VitRcnn):
    """Three box heads, each refining the boxes of the last, positive from IoU .5, .6 and .7;
    deltas shared by the classes; a third of the gradient to the pyramid. At test the mean of the
    three's probabilities."""

    def __init__(self, backbone: str, classes: int, p: VitDetSettings, keypoints: int = 0) -> None:
        super().__init__(backbone, classes, p, keypoints)
        self.roi.box_predictor = BoxPredictor(p.box_fc, classes, shared=True)
        self.later_heads = nn.ModuleList(build_box_head(p, self.norm) for _ in OVERLAPS[1:])
        self.later_predictors = nn.ModuleList(
            BoxPredictor(p.box_fc, classes, True) for _ in OVERLAPS[1:]
        )
        self.coders = [BoxCoder(weights) for weights in WEIGHTS]

    def run_head(
        self, number: int, maps: list[Tensor], boxes: list[Tensor], share: float
    ) -> tuple[Tensor, Tensor]:
        """Logits (n, K + 1) and deltas (n, 4) of a head."""
        heads, predictors = [self.roi.box_head, *self.later_heads], [self.roi.box_predictor]
        predictors += self.later_predictors
        pooled = self.pool(maps, boxes, 7)
        shared = scale_gradient(pooled, share) if share < 1 else pooled
        return predictors[number](heads[number](shared))  # type: ignore[no-any-return]

    def refine(
        self, number: int, deltas: Tensor, boxes: list[Tensor], sizes: list[tuple[int, int]]
    ) -> list[Tensor]:
        """The boxes that a stage's deltas make, inside their images."""
        moved = (
            self.coders[number].decode(deltas.detach(), boxes)[:, 0].split([len(b) for b in boxes])
        )
        return [clip_boxes_to_image(b, size) for b, size in zip(moved, sizes, strict=True)]

    def compute_box_losses(
        self, maps: list[Tensor], sampled: Sampled, targets: Targets, sizes: list[tuple[int, int]]
    ) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = {}
        boxes, labels, aims = sampled.boxes, torch.cat(sampled.labels), torch.cat(sampled.deltas)
        for number, overlap in enumerate(OVERLAPS):
            if number:
                boxes = [b[(b[:, 2:] > b[:, :2]).all(1)] for b in boxes]
                coder = self.coders[number]
                aimed = [
                    cascade_targets(b, t, overlap, coder)
                    for b, t in zip(boxes, targets, strict=True)
                ]
                labels, aims = (torch.cat(x) for x in zip(*aimed, strict=True))
            logits, deltas = self.run_head(number, maps, boxes, 1 / len(OVERLAPS))
            parts = box_losses(logits, deltas, labels, aims)
            losses |= {f"{name}_stage{number + 1}": loss for name, loss in parts.items()}
            boxes = self.refine(number, deltas, boxes, sizes)
        return losses

    def detect_boxes(
        self, maps: list[Tensor], proposals: list[Tensor], sizes: list[tuple[int, int]]
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        boxes, total = proposals, torch.zeros(())
        for number in range(len(OVERLAPS)):
            logits, deltas = self.run_head(number, maps, boxes, 1.0)
            total = total + logits.softmax(1)
            boxes = self.refine(number, deltas, boxes, sizes)
        shares = (total / len(OVERLAPS)).split([len(b) for b in boxes])
        best = [self._choose_best(b, s) for b, s in zip(boxes, shares, strict=True)]
        kept, scores, labels = (list(x) for x in zip(*best, strict=True))
        return kept, scores, labels

    def _choose_best(self, boxes: Tensor, shares: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes, scores, labels of an image after suppression per class."""
        row, label = (shares[:, 1:] > SCORE).nonzero(as_tuple=True)
        score, placed = shares[row, label + 1], boxes[row]
        kept = batched_nms(placed, score, label, SUPPRESS)[: self.p.detections]
        return placed[kept], score[kept], label[kept] + 1
