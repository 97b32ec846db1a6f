"""Networks that timm builds: what they compute is timm's own, at any size, under one set of
keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn

from bench.core.errors import BadInput
from bench.nn.architectures import DEPTHS, architecture
from bench.nn.backbones import build_backbone, load_backbone, save_backbone
from bench.nn.layers import layer_features
from bench.nn.timm_names import TimmName, describe, parse_timm
from bench.nn.timm_net import TimmBackbone

SWIN = "swin_tiny_patch4_window7_224,depths=1/1/2/1,embed_dim=24,num_heads=1/2/4/8"
SWIN2 = "swinv2_tiny_window8_256,depths=1/1/2/1,embed_dim=24,num_heads=1/2/4/8"
DINO2 = "vit_small_patch14_reg4_dinov2,depth=4,embed_dim=32,num_heads=2,img_size=56"
DINO3 = "vit_small_patch16_dinov3,depth=4,embed_dim=32,num_heads=2"
PYRAMIDS = ["test_resnet", "resnet10t", "test_convnext", "test_convnext2", SWIN, SWIN2]
PLAIN = ["test_vit", "test_vit3", DINO2, DINO3]


def build(name: str) -> TimmBackbone:
    torch.manual_seed(0)
    net = build_backbone(f"timm:{name}").eval()
    assert isinstance(net, TimmBackbone)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(std=0.2)  # type: ignore[union-attr]
    return net


def theirs(name: str, ours: TimmBackbone, **settings: Any) -> nn.Module:
    """timm's own model of the name with the same weights."""
    own = parse_timm(name)
    net = timm.create_model(own.model, pretrained=False, **{**own.settings, **settings}).eval()
    net.load_state_dict(ours.net.state_dict(), strict=False)
    return net


@pytest.mark.parametrize("name", PYRAMIDS + PLAIN)
def test_features_are_timms(name: str) -> None:
    ours = build(name)
    side = theirs(name, ours, num_classes=0).pretrained_cfg["input_size"][-1]  # type: ignore[index,union-attr]
    side = parse_timm(name).settings.get("img_size", side)
    images = torch.randn(1, 3, side, side)
    with torch.no_grad():
        wanted = theirs(name, ours, num_classes=0)(images)
        torch.testing.assert_close(ours(images), wanted)
    assert wanted.shape == (1, ours.feature_dim)


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", SWIN])
def test_the_pyramid_is_that_of_features_only(name: str) -> None:
    ours = build(name)
    more = {"strict_img_size": False} if "swin" in name else {}
    own = parse_timm(name)
    net = timm.create_model(own.model, features_only=True, **{**own.settings, **more}).eval()
    state = ours.net.state_dict()
    flat = {k.replace("_", "."): k for k in state}
    # features_only flattens `layers.0` to `layers_0`
    net.load_state_dict({k: state[flat[k.replace("_", ".")]] for k in net.state_dict()})
    images = torch.randn(1, 3, 96, 128)
    with torch.no_grad():
        maps = [x.permute(0, 3, 1, 2) if "swin" in name else x for x in net(images)[-4:]]
        for own_map, wanted in zip(ours.pyramid(images), maps, strict=True):
            torch.testing.assert_close(own_map, wanted)
    assert [x.shape[2:] for x in maps] == [(24, 32), (12, 16), (6, 8), (3, 4)]


@pytest.mark.parametrize("name", PYRAMIDS + PLAIN)
@pytest.mark.parametrize("size", [(64, 64), (70, 99)])
def test_depths_of_any_image(name: str, size: tuple[int, int]) -> None:
    ours, images = build(name), torch.randn(2, 3, *size)
    with torch.no_grad():
        maps, pooled = ours.depths(images)
        torch.testing.assert_close(pooled, ours(images))
        torch.testing.assert_close(maps[-1], ours.maps(images))
        features = layer_features(ours, images, (*DEPTHS, "gap"))
    assert [m.ndim for m in maps] == [4] * 5
    assert list(features) == [*DEPTHS, "gap"]
    assert max(f.shape[1] for f in features.values()) <= 9216
    torch.testing.assert_close(features["gap"], pooled)


def test_depths_of_a_plain_transformer_are_its_quarters() -> None:
    ours, images = build(DINO2), torch.randn(1, 3, 56, 56)
    with torch.no_grad():
        maps, _ = ours.depths(images)
        blocks: list[Tensor] = ours.net.forward_intermediates(images, intermediates_only=True)
        x = ours.net._pos_embed(ours.net.patch_embed(images))
    for own, wanted in zip(maps[1:4], blocks[:3], strict=True):
        torch.testing.assert_close(own, wanted)
    torch.testing.assert_close(maps[0], x[:, 5:].transpose(1, 2).unflatten(2, (4, 4)))


def test_a_resnet_has_the_features_of_torchvisions() -> None:
    """The same weights under timm's name and under ours, at a size of the published pooling."""
    torch.manual_seed(0)
    one, other = build_backbone("resnet18").eval(), build("resnet18")
    other.net.load_state_dict(one.state_dict())
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        a, b = (layer_features(net, images, (*DEPTHS, "gap")) for net in (one, other))
    for layer in a:
        torch.testing.assert_close(a[layer], b[layer])


def test_pixels_are_those_that_the_weights_expect() -> None:
    """(x - mean) / std of CLIP, from pixels that the tasks have normalised by ImageNet's."""
    from bench.nn.timm_net import set_normalisation
    from bench.views.augment import normalise

    ours, pixels = build("test_resnet"), torch.rand(1, 3, 32, 32)
    state = ours.state_dict()
    mean, std = [0.48, 0.45, 0.40], [0.26, 0.27, 0.28]
    set_normalisation(state, mean, std)
    ours.load_state_dict(state)
    wanted = (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    torch.testing.assert_close(ours.prepare(normalise(pixels)), wanted)


def test_a_saved_backbone_is_loaded_whole(tmp_path: Path) -> None:
    ours = build(SWIN)
    save_backbone(tmp_path / "backbone.pth", ours)
    other = build_backbone(f"timm:{SWIN}")
    assert load_backbone(tmp_path / "backbone.pth", other) == len(ours.state_dict())
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(ours(images), other.eval()(images))


def test_names_are_written_as_they_are_read() -> None:
    settings = {"depths": (1, 1, 2, 1), "mlp_ratio": 2.5, "act_layer": "relu", "fc_norm": False}
    name = TimmName("convnext_tiny.fb_in1k", settings)
    assert name.text() == (
        "timm:convnext_tiny.fb_in1k,depths=1/1/2/1,mlp_ratio=2.5,act_layer=relu,fc_norm=false"
    )
    assert parse_timm(name.text()) == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm:convnext_tinny", "unknown timm network 'convnext_tinny'.*convnext_tiny"),
        ("timm:convnext_tiny.nothing", "unknown weights of timm 'convnext_tiny.nothing'"),
        ("timm:test_vit,num_classes=3", "'num_classes=3' is no setting of timm's test_vit"),
        ("timm:test_vit,depth", "'depth' is no setting"),
        ("timm:test_vit,nothing=3", r"timm does not build test_vit,nothing=3 \(.*nothing"),
        ("timm:test_vit,depth=two", "timm does not build test_vit,depth=two"),
        ("timm:beit_base_patch16_224", "takes images of 224 pixels only"),
        ("timm:convnext_tiny,patch_size=8", "has maps of strides 8, 16, 32, 32;"),
    ],
)
def test_a_bad_name_is_one_line(name: str, message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        architecture(name)
    assert "\n" not in str(caught.value)


def test_eps_is_that_of_all_layer_norms() -> None:
    net = build("test_vit,eps=0.001")
    layers = [m for m in net.modules() if isinstance(m, nn.LayerNorm)]
    assert layers
    assert {layer.eps for layer in layers} == {0.001}


def test_what_networks_are_for() -> None:
    """Pyramids by their strides; timm dilates convolutions, and no windows."""
    shapes = {n: describe(f"timm:{n}") for n in ("test_resnet", "test_convnext", SWIN, "test_vit")}
    assert [s.pyramid for s in shapes.values()] == [True, True, True, False]
    assert [s.dilates for s in shapes.values()] == [True, True, False, False]
    assert [s.patch for s in shapes.values()] == [0, 0, 0, 16]
