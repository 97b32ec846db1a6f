"""R-CNNs with a feature pyramid from torchvision's parts, with detectron2's semantics where the
two differ.

Losses are plain L1, proposals are kept per image, RoIAlign is aligned, anchors are not rounded,
every layer trains and every head is batch-normalised (InfoMin setup), initial weights follow
detectron2.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import keypointrcnn_inference, keypointrcnn_loss
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from tasks._detection.anchors import Anchors, pool_levels
from tasks._detection.bodies import build_body
from tasks._detection.detector import Detections, Detector, Targets
from tasks._detection.heads import (
    BoxPredictor,
    KeypointHead,
    MaskHead,
    build_box_head,
    build_roi_heads,
    spread_deltas,
)
from tasks._detection.losses import Sampled, box_losses, mask_loss
from tasks._detection.masks import add_masks
from tasks._detection.rpn import build_rpn, propose
from tasks._detection.settings import FpnSettings, KeypointSettings, MaskSettings

STRIDES = (4, 8, 16, 32, 64)


class FpnRcnn(Detector):
    """Faster R-CNN with a feature pyramid, and a mask or keypoint head where the protocol has one.

    body: the ResNet; fpn; rpn; roi: torchvision's sampling and decoding with our heads. `strides`:
    of the five levels. `norm`: in the heads."""

    strides: tuple[int, ...] = STRIDES
    norm: Any = nn.BatchNorm2d

    def __init__(self, backbone: str, classes: int, p: FpnSettings, keypoints: int = 0) -> None:
        super().__init__()
        self.p, self.classes = p, classes
        self._build_pyramid(backbone)
        self.rpn = build_rpn(p.fpn, Anchors(p.anchors, self.strides), p)
        self.roi = build_roi_heads(
            build_box_head(p, self.norm), BoxPredictor(p.box_fc, classes, p.box_shared), p
        )
        if "segm" in p.kinds:
            assert isinstance(p, MaskSettings)
            self.mask = MaskHead(p.fpn, p.mask_convs, p.mask_width, classes, self.norm)
        if "keypoints" in p.kinds:
            assert isinstance(p, KeypointSettings)
            self.keypoints = KeypointHead(p.fpn, p.keypoint_convs, p.keypoint_width, keypoints)

    def _build_pyramid(self, backbone: str) -> None:
        self.body, widths = build_body(backbone)
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
        losses |= self.compute_box_losses(maps, sampled, targets, images.image_sizes)
        return losses | self._head_losses(maps, sampled.positive(), targets)

    def compute_box_losses(
        self, maps: list[Tensor], sampled: Sampled, targets: Targets, sizes: list[tuple[int, int]]
    ) -> dict[str, Tensor]:
        """The losses of the box head on sampled proposals; sizes (height, width) of the images."""
        logits, deltas = self.roi.box_predictor(
            self.roi.box_head(self.pool(maps, sampled.boxes, 7))
        )
        labels, wanted = torch.cat(sampled.labels), torch.cat(sampled.deltas)
        return box_losses(logits, deltas, labels, wanted, self.p.smooth_l1_beta)

    def detect_boxes(
        self, maps: list[Tensor], proposals: list[Tensor], sizes: list[tuple[int, int]]
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Boxes, scores and labels per image."""
        logits, deltas = self.roi.box_predictor(self.roi.box_head(self.pool(maps, proposals, 7)))
        deltas = spread_deltas(logits, deltas)
        return self.roi.postprocess_detections(logits, deltas, proposals, sizes)  # type: ignore[no-any-return]

    def pool(self, maps: list[Tensor], boxes: list[Tensor], size: int) -> Tensor:
        """(n, C, size, size), each box from its level of the pyramid."""
        return pool_levels(maps[:4], boxes, size, self.p.canonical, self.strides)

    def _head_losses(
        self, maps: list[Tensor], positive: Sampled, targets: Targets
    ) -> dict[str, Tensor]:
        losses = {}
        if "segm" in self.p.kinds:
            losses["loss_mask"] = maps[0].sum() * 0
            if sum(map(len, positive.boxes)):
                logits = self.mask(self.pool(maps, positive.boxes, 14))
                losses["loss_mask"] = mask_loss(logits, positive, targets)
        if "keypoints" in self.p.kinds:
            logits = self.keypoints(self.pool(maps, positive.boxes, 14))
            points = [t["keypoints"] for t in targets]
            losses["loss_keypoint"] = keypointrcnn_loss(
                logits, positive.boxes, points, positive.matched
            )
        return losses

    @torch.inference_mode()
    def detect(self, images: ImageList) -> Detections:
        maps = self.features(images.tensors)
        proposals, _ = propose(self.rpn, images, maps, None)
        boxes, scores, labels = self.detect_boxes(maps, proposals, images.image_sizes)
        detections = [
            {"boxes": b, "scores": s, "labels": n}
            for b, s, n in zip(boxes, scores, labels, strict=True)
        ]
        if "segm" in self.p.kinds:
            add_masks(detections, self.mask(self.pool(maps, boxes, 14)))
        if "keypoints" in self.p.kinds:
            points, _ = keypointrcnn_inference(self.keypoints(self.pool(maps, boxes, 14)), boxes)
            for one, place in zip(detections, points, strict=True):
                one["keypoints"] = place
        return detections
