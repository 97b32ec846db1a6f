"""Faster and Mask R-CNN C4: proposals and pooling on C4, the backbone's last stage as the head."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import roi_align

from bench.nn.backbones import build_backbone
from bench.nn.resnet import ResNetBackbone
from bench.nn.timm_net import TimmBackbone
from tasks._detection.anchors import Anchors, make_rois
from tasks._detection.detector import Detections, Detector, Targets
from tasks._detection.heads import BoxPredictor, MaskHead, build_roi_heads, spread_deltas
from tasks._detection.losses import Sampled, box_losses, mask_loss
from tasks._detection.masks import add_masks
from tasks._detection.rpn import build_rpn, propose
from tasks._detection.settings import MaskSettings, RpnSettings

STRIDE = 16
SIDE = 14


class C4Rcnn(Detector):
    """R-CNN on C4 (Ren et al. 2015; He et al. 2017, R50-C4) with one more batch norm after the
    last stage, as MoCo (He et al. 2020, appendix) fine-tunes it.

    Each proposal is pooled from C4 at 14 x 14; layer4 and `norm` make of it (C5, 7, 7), which the
    box head averages and the mask head (one deconvolution) reads, so that masks have 14 x 14
    logits.
    """

    divisor: int = 1
    body: ResNetBackbone | TimmBackbone

    def __init__(self, backbone: str, classes: int, p: RpnSettings, keypoints: int = 0) -> None:
        super().__init__()
        self.p, self.classes = p, classes
        body = build_backbone(backbone)
        assert isinstance(body, ResNetBackbone | TimmBackbone)
        self.body = body
        width, before = body.feature_dim, body.feature_dim // 2
        if isinstance(body, TimmBackbone):
            before, width = body.shape.widths[-2:]
        self.norm = nn.BatchNorm2d(width)
        self.rpn = build_rpn(before, Anchors([p.anchors], [STRIDE]), p)
        self.roi = build_roi_heads(nn.Identity(), BoxPredictor(width, classes, p.box_shared), p)
        if "segm" in p.kinds:
            assert isinstance(p, MaskSettings)
            self.mask = MaskHead(width, 0, p.mask_width, classes)

    def features(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) normalised -> C4, stride 16."""
        body = self.body
        if isinstance(body, TimmBackbone):
            return body.stage_before_last(images)
        x = body.maxpool(body.relu(body.bn1(body.conv1(images))))
        return body.layer3(body.layer2(body.layer1(x)))  # type: ignore[no-any-return]

    def pool_regions(self, c4: Tensor, boxes: list[Tensor]) -> Tensor:
        """(n, C5, 7, 7) of xyxy boxes."""
        pooled = roi_align(c4, make_rois(boxes).to(c4.dtype), SIDE, 1 / STRIDE, 0, aligned=True)
        last = self.body.net.layer4 if isinstance(self.body, TimmBackbone) else self.body.layer4
        return self.norm(last(pooled))  # type: ignore[no-any-return]

    def losses(self, images: ImageList, targets: Targets) -> dict[str, Tensor]:
        c4 = self.features(images.tensors)
        proposals, losses = propose(self.rpn, images, [c4], targets)
        sampled = Sampled(*self.roi.select_training_samples(proposals, targets))
        regions = self.pool_regions(c4, sampled.boxes)
        logits, deltas = self.roi.box_predictor(regions.mean((2, 3)))
        labels = torch.cat(sampled.labels)
        losses |= box_losses(logits, deltas, labels, torch.cat(sampled.deltas))
        if "segm" in self.p.kinds:
            losses["loss_mask"] = c4.sum() * 0
            if (labels > 0).any():
                losses["loss_mask"] = mask_loss(
                    self.mask(regions[labels > 0]), sampled.positive(), targets
                )
        return losses

    @torch.inference_mode()
    def detect(self, images: ImageList) -> Detections:
        c4 = self.features(images.tensors)
        proposals, _ = propose(self.rpn, images, [c4], None)
        logits, deltas = self.roi.box_predictor(self.pool_regions(c4, proposals).mean((2, 3)))
        boxes, scores, labels = self.roi.postprocess_detections(
            logits, spread_deltas(logits, deltas), proposals, images.image_sizes
        )
        detections = [
            {"boxes": b, "scores": s, "labels": n}
            for b, s, n in zip(boxes, scores, labels, strict=True)
        ]
        if "segm" in self.p.kinds:
            add_masks(detections, self.mask(self.pool_regions(c4, boxes)))
        return detections
