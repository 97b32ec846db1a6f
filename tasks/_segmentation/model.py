"""Dilated ResNets and the segmentation network: backbone, head, auxiliary head, losses."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock

from bench.data.semantic import VOID
from bench.nn.architectures import architecture
from bench.nn.backbones import build_backbone
from bench.nn.resnet import ResNetBackbone
from bench.nn.timm_net import TimmBackbone
from tasks._segmentation.protocol import FcnParams, PsaParams, SegmentationParams
from tasks._segmentation.psa import PsaHead, classifier, conv, resize


def dilate(backbone: ResNetBackbone, output_stride: int) -> ResNetBackbone:
    """Replace the stride of the last stages by dilation, in place: no weight changes, none is
    added.

    Output stride 8 takes it from the last two stages, 16 from the last. A stage's first block
    still has the dilation of the stage before it, as torchvision's `replace_stride_with_dilation`
    has it, so that every output at the old stride is what it was. Also for basic blocks, which
    torchvision refuses to dilate.
    """
    dilation = 1
    for stage in (backbone.layer3, backbone.layer4) if output_stride == 8 else (backbone.layer4,):
        previous, dilation = dilation, dilation * 2
        for number, block in enumerate(stage):
            strided = block.conv1 if isinstance(block, BasicBlock) else block.conv2
            _dilate(strided, previous if number == 0 else dilation)
            if isinstance(block, BasicBlock):
                _dilate(block.conv2, dilation)
            if block.downsample is not None:
                block.downsample[0].stride = (1, 1)
            block.stride = 1
    return backbone


def build_dilated(
    backbone: str, output_stride: int
) -> tuple[ResNetBackbone | TimmBackbone, int, int]:
    """The network with its last stages dilated, and the channels of the last two. timm dilates its
    own by the same rule."""
    if architecture(backbone).family == "timm":
        built = TimmBackbone(backbone, output_stride)
        before, width = built.shape.widths[-2:]
        return built, before, width
    resnet = build_backbone(backbone)
    assert isinstance(resnet, ResNetBackbone)
    return dilate(resnet, output_stride), resnet.feature_dim // 2, resnet.feature_dim


def _dilate(layer: nn.Conv2d, dilation: int) -> None:
    layer.stride = (1, 1)
    layer.dilation = layer.padding = (dilation, dilation)


class FcnHead(nn.Module):
    """3x3 convolutions, maybe one more over their output beside their input, the classifier (Long
    et al. 2015, as MMSegmentation arranges it). (B, inputs, H, W) -> logits (B, classes, H, W)."""

    def __init__(
        self,
        inputs: int,
        width: int,
        classes: int,
        dropout: float,
        convs: int = 2,
        concat: bool = True,
    ) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            *(conv(inputs if i == 0 else width, width, 3) for i in range(convs))
        )
        self.fuse = conv(inputs + width, width, 3) if concat else None
        self.drop = nn.Dropout2d(dropout)
        self.classify = classifier(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        features = self.convs(x)
        if self.fuse is not None:
            features = self.fuse(torch.cat([x, features], 1))
        return self.classify(self.drop(features))  # type: ignore[no-any-return]


class Segmenter(nn.Module):
    """A dilated backbone with a head on its last stage, and in training one before it."""

    def __init__(self, backbone: str, classes: int, p: SegmentationParams) -> None:
        super().__init__()
        self.backbone, before, width = build_dilated(backbone, p.output_stride)
        self.head = build_head(p, width, classes)
        self.aux: FcnHead | None = None
        if p.aux_weight:
            self.aux = FcnHead(before, p.aux_width, classes, p.dropout, 1, False)
        self.aux_weight = p.aux_weight

    def features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The maps of the last two stages, C4 and C5."""
        b = self.backbone
        if isinstance(b, TimmBackbone):
            c4, c5 = b.pyramid(images)[2:]
            return c4, c5
        x = b.layer2(b.layer1(b.maxpool(b.relu(b.bn1(b.conv1(images))))))
        c4 = b.layer3(x)
        return c4, b.layer4(c4)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> logits (B, classes, H, W), bilinear from the head's."""
        return resize(self.head(self.features(images)[1]), list(images.shape[2:]))

    def losses(self, images: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Cross-entropy of the pixels, of both heads; targets (B, H, W) in 0..classes-1, 255:
        void."""
        c4, c5 = self.features(images)
        losses = {"loss_seg": pixel_loss(self.head(c5), targets)}
        if self.aux is not None:
            losses["loss_aux"] = self.aux_weight * pixel_loss(self.aux(c4), targets)
        return losses


def pixel_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of the pixels that are not void, logits enlarged to their size; 0 if all
    are."""
    full = resize(logits.float(), list(targets.shape[1:]))
    total = F.cross_entropy(full, targets.long(), ignore_index=VOID, reduction="sum")
    return total / (targets != VOID).sum().clamp(min=1)


def build_head(p: SegmentationParams, inputs: int, classes: int) -> nn.Module:
    """The head that the params describe."""
    if isinstance(p, PsaParams):
        return PsaHead(inputs, p.width, classes, p.dropout, p.mask, p.shrink, p.normalise)
    if isinstance(p, FcnParams):
        return FcnHead(inputs, p.width, classes, p.dropout, p.convs, p.concat)
    raise TypeError(f"no head for {type(p).__name__}")


def build_optimizer(model: Segmenter, p: SegmentationParams) -> torch.optim.SGD:
    """SGD over two groups, the backbone's and the heads', whose rate is `factor` times the
    schedule's."""
    body = list(model.backbone.parameters())
    heads = [w for name, w in model.named_parameters() if not name.startswith("backbone.")]
    groups = [{"params": body, "factor": 1.0}, {"params": heads, "factor": p.head_lr}]
    return torch.optim.SGD(groups, p.lr, p.momentum, weight_decay=p.weight_decay)
