"""Detectors and segmenters on networks that timm builds: sizes of maps, gradients, and that the
backbone file fits."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import timm
import torch
from torchvision.models.detection.image_list import ImageList

from bench.contracts import registry
from bench.nn.backbones import build_backbone, load_backbone, save_backbone
from tasks._detection.backend import DETECTORS
from tasks._detection.c4 import C4Rcnn
from tasks._detection.fpn import FpnRcnn
from tasks._segmentation.model import Segmenter

SWIN = "timm:swin_tiny_patch4_window7_224,depths=1/1/1/1,embed_dim=24,num_heads=1/2/4/8"


def params(task: str) -> Any:
    kind: Any = registry.load("task", task)
    return kind.resolve("tiny", {}).params


@pytest.mark.parametrize("network", ["timm:test_resnet", "timm:test_convnext", SWIN])
@pytest.mark.parametrize("task", ["coco_det", "coco_retinanet"])
def test_a_pyramid_learns_through_every_stage(network: str, task: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    p = params(task)
    model = DETECTORS[p.detector](network, 2, p)
    save_backbone(tmp_path / "backbone.pth", build_backbone(network))
    assert load_backbone(tmp_path / "backbone.pth", model.body) > 20
    images = ImageList(torch.randn(1, 3, 96, 128), [(96, 128)])
    target = {
        "boxes": torch.tensor([[8.0, 8.0, 60.0, 60.0]]),
        "labels": torch.tensor([1]),
        "masks": torch.ones(1, 96, 128, dtype=torch.uint8),
        "scale": torch.ones(2),
    }
    if isinstance(model, FpnRcnn):
        maps = model.features(images.tensors)
        assert [m.shape[2:] for m in maps[:4]] == [(24, 32), (12, 16), (6, 8), (3, 4)]
    sum(model.train().losses(images, [target]).values()).backward()  # type: ignore[union-attr]
    body = cast("Any", model.body).net
    stages = [body.layer1, body.layer4] if hasattr(body, "layer1") else []
    for name in ("stages", "layers"):
        stages += list(getattr(body, name, []))
    learned = [
        sum(float(q.grad.abs().sum()) for q in s.parameters() if q.grad is not None)
        for s in stages
    ]
    assert min(learned) > 0


def test_a_c4_head_is_the_last_stage() -> None:
    torch.manual_seed(0)
    model = C4Rcnn("timm:test_resnet", 2, params("coco_det_c4")).eval()
    images = torch.randn(1, 3, 64, 96)
    c4 = model.features(images)
    assert c4.shape == (1, 192, 4, 6)
    body: Any = model.body
    with torch.no_grad():
        torch.testing.assert_close(body.net.layer4(c4), body.maps(images))
    boxes = [torch.tensor([[0.0, 0.0, 32.0, 32.0]])]
    assert model.pool_regions(c4, boxes).shape == (1, 96, 7, 7)


@pytest.mark.parametrize("network", ["timm:test_resnet", "timm:test_convnext"])
@pytest.mark.parametrize("stride", [8, 16])
def test_a_dilated_network_keeps_its_weights(network: str, stride: int) -> None:
    torch.manual_seed(0)
    p = params("voc12_seg").model_copy(update={"output_stride": stride})
    model = Segmenter(network, 3, p).eval()
    whole = build_backbone(network).eval()
    whole.load_state_dict(model.backbone.state_dict(), strict=True)
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        c4, c5 = model.features(images)
        assert c5.shape[2:] == (64 // stride, 96 // stride)
        assert model(images).shape == (1, 3, 64, 96)
        c3 = cast("Any", whole).pyramid(images)[1]
        torch.testing.assert_close(cast("Any", model.backbone).pyramid(images)[1], c3)
    assert c4.shape[2:] == (8, 12) if stride == 8 else (4, 6)


def test_plain_transformers_of_timm_are_told_how_vitdet_judges_them() -> None:
    """Their weights are those of bench's networks, tensor by tensor."""
    task: Any = registry.load("task", "coco_vitdet")
    reason = task.resolve("tiny", {}).supports("timm:vit_small_patch16_224")
    assert reason is not None
    assert "--backbone vit_b=FILE" in reason
    theirs = timm.create_model("vit_small_patch16_224", num_classes=0).state_dict()
    ours = build_backbone("vit_s").state_dict()
    assert {k: v.shape for k, v in theirs.items()} == {k: v.shape for k, v in ours.items()}
