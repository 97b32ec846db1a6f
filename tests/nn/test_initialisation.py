"""How a ResNet's weights start: as torchvision, OpenSelfSup, or SimSiam and SoCo have it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from bench.contracts import registry
from bench.core.errors import BadInput
from bench.nn.backbones import build_backbone

SMALL_HEADS = {"hidden": 16, "out": 8, "dim": 8, "fpn": 8, "fc": 8, "bottleneck": 4}


def convolutions(network: nn.Module) -> dict[str, nn.Conv2d]:
    return {n: m for n, m in network.named_modules() if isinstance(m, nn.Conv2d)}


def assert_spread(weight: torch.Tensor, deviation: float) -> None:
    """Independent N(0, deviation^2): the sample's deviation has a relative error of
    1 / sqrt(2 n), here five of them."""
    error = 5 / math.sqrt(2 * weight.numel())
    assert float(weight.detach().std()) == pytest.approx(deviation, rel=error)
    assert abs(float(weight.detach().mean())) < 5 * deviation / math.sqrt(weight.numel())


def test_fan_in_draws_every_convolution_from_its_inputs() -> None:
    torch.manual_seed(0)
    layers = convolutions(build_backbone("resnet50", "fan_in"))
    assert len(layers) == 53
    for layer in layers.values():
        inputs = layer.in_channels * layer.kernel_size[0] * layer.kernel_size[1]
        assert_spread(layer.weight, math.sqrt(2 / inputs))
    assert_spread(layers["layer1.0.conv3"].weight, 0.1768)  # 64 to 256 channels, by hand


def test_torchvision_draws_by_fan_out_and_batch_norms_start_alike() -> None:
    torch.manual_seed(0)
    layers = convolutions(build_backbone("resnet50"))
    assert_spread(layers["layer1.0.conv3"].weight, 0.0884)
    norms = [
        m for m in build_backbone("resnet18", "fan_in").modules() if hasattr(m, "running_var")
    ]
    assert len(norms) == 20
    assert all(bool((m.weight == 1).all()) and bool((m.bias == 0).all()) for m in norms)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_zero_residual_is_torchvisions(name: str) -> None:
    torch.manual_seed(0)
    ours = build_backbone(name, "zero_residual").state_dict()
    torch.manual_seed(0)
    theirs = getattr(torchvision.models, name)(zero_init_residual=True).state_dict()
    assert all(torch.equal(v, theirs[k]) for k, v in ours.items())
    assert torch.equal(ours["layer4.1.bn2.weight"], torch.zeros(512)) == (name == "resnet18")


def test_both_halves_of_a_lab_backbone_are_drawn() -> None:
    torch.manual_seed(0)
    layers = convolutions(build_backbone("lab_resnet18", "fan_in"))
    assert_spread(layers["l.conv1"].weight, math.sqrt(2 / 49))
    assert_spread(layers["ab.layer2.0.downsample.0"].weight, math.sqrt(2 / 32))


def starts_like(init: str, backbone: nn.Module) -> bool:
    """Whether a ResNet-18 has the deviations and batch norms of this initialisation."""
    layer: Any = backbone.get_submodule("layer2.0.conv1")
    last: Any = backbone.get_submodule("layer2.1.bn2")
    by_input = abs(float(layer.weight.detach().std()) - math.sqrt(2 / (64 * 9))) < 0.002
    by_output = abs(float(layer.weight.detach().std()) - math.sqrt(2 / (128 * 9))) < 0.002
    zero = bool((last.weight == 0).all())
    return {
        "fan_in": by_input and not zero,
        "torchvision": by_output and not zero,
        "zero_residual": by_output and zero,
    }[init]


AUTHORS = {
    "byol": "fan_in",
    "orl": "fan_in",
    "simclr": "fan_in",
    "densecl": "fan_in",
    "simsiam": "zero_residual",
    "soco": "zero_residual",
    "ccop": "torchvision",
    "moco_v2": "torchvision",
    "resim": "torchvision",
    "cast": "torchvision",
    "swav": "torchvision",
    "lewel": "torchvision",
    "self_emd": "torchvision",
    "supervised": "torchvision",
}


@pytest.mark.parametrize("name", sorted(AUTHORS))
def test_paper_scale_starts_as_the_authors_do(name: str) -> None:
    cls: Any = registry.load("method", name)
    wanted = {k: v for k, v in SMALL_HEADS.items() if k in cls.Params.model_fields}
    wanted["backbone"] = "resnet18"
    if name == "cast":
        wanted["hidden"] = 0
    method = cls.resolve("paper", wanted)
    torch.manual_seed(0)
    network = method.network(64)
    assert starts_like(AUTHORS[name], network.backbone)
    for role in ("target_backbone", "key_backbone"):
        copy = getattr(network, role, None)
        assert copy is None or starts_like(AUTHORS[name], copy)


@pytest.mark.parametrize("name", sorted(AUTHORS))
@pytest.mark.parametrize("scale", ["tiny", "small"])
def test_the_setting_is_not_in_keys_of_the_smaller_scales(name: str, scale: str) -> None:
    method: Any = registry.load("method", name).resolve(scale)
    assert "init" not in method.identity()["params"]
    changed: Any = registry.load("method", name).resolve(
        scale, {"init": "zero_residual", "backbone": "resnet18"}
    )
    assert changed.identity()["params"]["init"] == "zero_residual"
    assert starts_like("zero_residual", changed.network(64).backbone)


def test_unknown_initialisations_name_the_choices() -> None:
    with pytest.raises(BadInput, match="fan_in"):
        registry.load("method", "byol").resolve("paper", {"init": "fan_out"})
