"""Backbones: torchvision's keys, strict loading."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision

from bench.core.errors import BadData, BadInput
from bench.nn.backbones import build_backbone, load_backbone, save_backbone


@pytest.mark.parametrize(
    ("name", "dim"),
    [("resnet18", 512), ("resnet34", 512), ("resnet50", 2048), ("resnet101", 2048)],
)
def test_saved_backbone_is_torchvisions_resnet_without_fc(
    name: str, dim: int, tmp_path: Path
) -> None:
    backbone = build_backbone(name).eval()
    save_backbone(tmp_path / "backbone.pth", backbone)
    theirs = getattr(torchvision.models, name)(weights=None).eval()
    state = torch.load(tmp_path / "backbone.pth", weights_only=True)
    difference = theirs.load_state_dict(state, strict=False)
    assert difference.missing_keys == ["fc.weight", "fc.bias"]
    assert difference.unexpected_keys == []
    theirs.fc = torch.nn.Identity()
    images = torch.randn(2, 3, 64, 48)
    torch.testing.assert_close(backbone(images), theirs(images), rtol=0, atol=0)
    assert backbone.feature_dim == dim
    assert backbone.maps(images).shape == (2, dim, 2, 2)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_cifar_stem_is_torchvisions_with_another_stem(name: str) -> None:
    torch.manual_seed(0)
    ours = build_backbone(f"{name}_cifar").eval()
    theirs = getattr(torchvision.models, name)(weights=None).eval()
    theirs.conv1 = torch.nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    theirs.maxpool = theirs.fc = torch.nn.Identity()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(ours(images), theirs(images), rtol=0, atol=0)


def test_initialisation_is_torchvisions() -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18(weights=None).state_dict()
    torch.manual_seed(0)
    ours = build_backbone("resnet18").state_dict()
    assert all(torch.equal(v, theirs[k]) for k, v in ours.items())


def test_loading_is_complete_or_an_error(tmp_path: Path) -> None:
    path, source = tmp_path / "b.pth", build_backbone("resnet18")
    save_backbone(path, source)
    other = build_backbone("resnet18")
    assert load_backbone(path, other) == len(source.state_dict()) == 120
    assert torch.equal(other.conv1.weight, source.conv1.weight)

    whole = torchvision.models.resnet18(weights=None).state_dict()
    torch.save(whole, path)
    assert load_backbone(path, other) == 120, "fc.* is ignored"

    before = other.conv1.weight.clone()
    torch.save({k: v + 1 for k, v in whole.items() if k != "layer4.1.bn2.running_var"}, path)
    with pytest.raises(
        BadInput, match=r"'layer4.1.bn2.running_var' is missing \(1 missing, 0 unexpected"
    ):
        load_backbone(path, other)
    assert torch.equal(other.conv1.weight, before), "nothing is loaded of a file that does not fit"

    torch.save({f"module.{k}": v for k, v in whole.items()}, path)
    with pytest.raises(
        BadInput,
        match=r"'conv1.weight', .* missing; 'module.conv1.weight', .*\(120 missing, 122 un",
    ):
        load_backbone(path, other)
    save_backbone(path, build_backbone("resnet18"))
    with pytest.raises(BadInput, match=r"'conv1.weight' is \(64, 3, 7, 7\), not \(32, 3, 7, 7\)"):
        load_backbone(path, _same_keys_other_widths())
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(BadData, match="not a readable"):
        load_backbone(path, other)


def _same_keys_other_widths() -> torch.nn.Module:
    net = build_backbone("resnet18")
    net.conv1 = torch.nn.Conv2d(3, 32, 7, bias=False)
    return net


def test_unknown_backbone_names_the_nearest() -> None:
    with pytest.raises(BadInput, match="did you mean 'resnet50'"):
        build_backbone("resnet5")


@pytest.mark.parametrize("name", ["resnet18", "resnet18_half"])
def test_bf16_on_the_cpu_refuses_views_whose_gradients_are_wrong(name: str) -> None:
    """The last strided convolution sees one pixel of a view of 16, four of one of 17."""
    net = build_backbone(name)
    with torch.autocast("cpu", torch.bfloat16):
        with pytest.raises(BadInput, match="more than 16 pixels"):
            net(torch.zeros(4, 3, 16, 16))
        net(torch.zeros(4, 3, 17, 17))
        with torch.no_grad():
            net(torch.zeros(4, 3, 16, 16))
    net(torch.zeros(4, 3, 16, 16))


@pytest.mark.parametrize(
    ("side", "kernel", "stride"), [(1, 3, 1), (1, 1, 2), (2, 3, 2), (2, 3, 1)]
)
def test_pytorchs_gradients_in_bf16_are_right_for_the_other_convolutions(
    side: int, kernel: int, stride: int
) -> None:
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(64, 128, kernel, stride, kernel // 2, bias=False)
    images = torch.randn(32, 64, side, side)
    layer(images).square().mean().backward()
    right = layer.weight.grad
    assert right is not None
    for _ in range(20):
        layer.weight.grad = None
        with torch.autocast("cpu", torch.bfloat16):
            found = layer(images)
        found.float().square().mean().backward()
        assert layer.weight.grad is not None
        assert (layer.weight.grad - right).norm() < 0.02 * right.norm()
