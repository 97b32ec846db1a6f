"""The five depths of a frozen backbone: the published pooling, other sizes, other architectures."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet50
from torchvision.models.feature_extraction import create_feature_extractor

from bench.nn.architectures import DEPTHS
from bench.nn.backbones import build_backbone
from bench.nn.layers import layer_features

# OpenSelfSup's MultiPooling, "specified" for ResNet-50
PUBLISHED = {
    "conv1": (10, 10, 4),
    "res2": (16, 8, 0),
    "res3": (13, 5, 0),
    "res4": (8, 3, 0),
    "res5": (6, 1, 0),
}
NODES = {
    "relu": "conv1",
    "layer1": "res2",
    "layer2": "res3",
    "layer3": "res4",
    "layer4": "res5",
    "flatten": "gap",
}


def test_resnet50_at_224_is_the_published_pooling() -> None:
    torch.manual_seed(0)
    backbone = build_backbone("resnet50").eval()
    reference = resnet50().eval()
    reference.load_state_dict(backbone.state_dict(), strict=False)
    images = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        found = layer_features(backbone, images, [*DEPTHS, "gap"])
        maps: dict[str, Tensor] = create_feature_extractor(reference, NODES)(images)
    assert [found[n].shape[1] for n in DEPTHS] == [9216, 9216, 8192, 9216, 8192]
    for name in DEPTHS:
        expected = nn.AvgPool2d(*PUBLISHED[name])(maps[name]).flatten(1)
        torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found["gap"], maps["gap"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [32, 64, 96])
@pytest.mark.parametrize("name", ["resnet18", "resnet18_cifar", "lab_resnet18", "vit_tiny"])
def test_any_backbone_and_size_has_five_depths(name: str, size: int) -> None:
    torch.manual_seed(0)
    backbone = build_backbone(name).eval()
    images = torch.randn(2, 3, size, size)
    with torch.inference_mode():
        found = layer_features(backbone, images, [*DEPTHS, "gap"])
        pooled, last = backbone(images), backbone.maps(images)
    torch.testing.assert_close(found["gap"], pooled, rtol=1e-4, atol=1e-5)
    assert all(
        f.shape[0] == 2 and f.shape[1] >= 64 and torch.isfinite(f).all() for f in found.values()
    )
    grid = int((found["res5"].shape[1] / last.shape[1]) ** 0.5)
    expected = nn.functional.adaptive_avg_pool2d(last, grid).flatten(1)
    torch.testing.assert_close(found["res5"], expected, rtol=1e-4, atol=1e-5)
