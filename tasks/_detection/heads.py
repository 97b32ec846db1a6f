"""The heads of proposals: boxes, masks, keypoints; initial weights follow detectron2."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead
from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads, KeypointRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads
from torchvision.models.detection.roi_heads import RoIHeads

from tasks._detection.settings import FpnSettings, RpnSettings


def build_roi_heads(head: nn.Module, predictor: nn.Module, p: RpnSettings) -> RoIHeads:
    """torchvision's sampling (a quarter positive, from IoU .5), decoding and suppression."""
    return RoIHeads(None, head, predictor, 0.5, 0.5, p.rois, 0.25, None, 0.05, 0.5, p.detections)


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


def build_box_head(p: FpnSettings, norm: Any = nn.BatchNorm2d) -> nn.Module:
    """(n, fpn, 7, 7) -> (n, box_fc): convolutions with norm, then fully connected layers."""
    head = FastRCNNConvFCHead(
        (p.fpn, 7, 7), [p.box_width] * p.box_convs, [p.box_fc] * p.box_fcs, norm_layer=norm
    )
    for layer in head.modules():
        if isinstance(layer, nn.Linear):
            nn.init.kaiming_uniform_(layer.weight, a=1)
            nn.init.zeros_(layer.bias)
    return head


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


def spread_deltas(logits: Tensor, deltas: Tensor) -> Tensor:
    """Deltas of every class, (n, 4 K), for class scores (n, K): those that the classes share,
    (n, 4), are repeated, and those of each class stay as they are."""
    return deltas.repeat(1, logits.shape[1]) if deltas.shape[1] == 4 else deltas


class KeypointHead(nn.Module):
    """Convolutions, a deconvolution and bilinear interpolation: (n, C, 14, 14) -> (n, keypoints,
    56, 56) logits, one softmax per keypoint (He et al. 2017, section 5)."""

    def __init__(self, channels: int, convs: int, width: int, keypoints: int) -> None:
        super().__init__()
        self.convs = KeypointRCNNHeads(channels, (width,) * convs)
        self.predict = KeypointRCNNPredictor(width, keypoints)

    def forward(self, x: Tensor) -> Tensor:
        return self.predict(self.convs(x)).contiguous()  # type: ignore[no-any-return]
