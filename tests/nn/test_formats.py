"""torchvision's and detectron2's key names, both ways."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from bench.core.errors import BadInput
from bench.nn.formats import check_finite, check_fit, from_detectron2, to_detectron2

NAMES = ["resnet18", "resnet34", "resnet50", "resnet101"]
BN = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def bare(name: str) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    net = getattr(torchvision.models, name)()
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_()  # type: ignore[union-attr]
            layer.num_batches_tracked.fill_(7)  # type: ignore[union-attr,operator]
    return {k: v for k, v in net.state_dict().items() if not k.startswith("fc.")}


def detectron2s_keys(name: str) -> set[str]:
    """As detectron2's `ResNet` names its parts: a stem, then res2 to res5,
    a shortcut where shapes change."""
    deep = name in ("resnet50", "resnet101")
    counts = {"resnet18": (2, 2, 2, 2), "resnet101": (3, 4, 23, 3)}.get(name, (3, 4, 6, 3))
    parts = ["stem.conv1"]
    for stage, blocks in zip(range(2, 6), counts, strict=True):
        for block in range(blocks):
            parts += [f"res{stage}.{block}.conv{i}" for i in ((1, 2, 3) if deep else (1, 2))]
            if block == 0 and (deep or stage > 2):
                parts.append(f"res{stage}.{block}.shortcut")
    return {f"{p}.weight" for p in parts} | {f"{p}.norm.{leaf}" for p in parts for leaf in BN}


@pytest.mark.parametrize("name", NAMES)
def test_there_and_back_is_bit_exact(name: str) -> None:
    state = bare(name)
    there = to_detectron2(state)
    assert set(there) == detectron2s_keys(name)
    back = from_detectron2(there)
    assert list(back) == list(state)
    assert all(torch.equal(back[k], v) and back[k].dtype == v.dtype for k, v in state.items())


def test_known_names() -> None:
    pairs = {
        "conv1.weight": "stem.conv1.weight",
        "bn1.running_var": "stem.conv1.norm.running_var",
        "layer1.0.conv1.weight": "res2.0.conv1.weight",
        "layer3.22.bn3.bias": "res4.22.conv3.norm.bias",
        "layer4.0.downsample.0.weight": "res5.0.shortcut.weight",
        "layer2.0.downsample.1.num_batches_tracked": "res3.0.shortcut.norm.num_batches_tracked",
    }
    assert to_detectron2({k: k for k in pairs}) == {v: k for k, v in pairs.items()}
    assert from_detectron2({v: v for v in pairs.values()}) == {k: v for k, v in pairs.items()}


def test_the_values_land_where_their_layer_is() -> None:
    """The block of the first stage computes the same from detectron2's
    names, written out by hand."""
    state = bare("resnet50")
    there = to_detectron2(state)
    net = torchvision.models.resnet50()
    net.load_state_dict(state, strict=False)
    block, x = net.layer1[0].eval(), torch.randn(1, 64, 8, 8)

    def norm(x: torch.Tensor, at: str) -> torch.Tensor:
        at = f"res2.0.{at}.norm."
        names = ("running_mean", "running_var", "weight", "bias")
        return nn.functional.batch_norm(x, *(there[at + n] for n in names))

    def conv(x: torch.Tensor, at: str, padding: int = 0) -> torch.Tensor:
        return nn.functional.conv2d(x, there[f"res2.0.{at}.weight"], padding=padding)

    out = norm(conv(x, "conv1"), "conv1").relu()
    out = norm(conv(out, "conv2", 1), "conv2").relu()
    out = norm(conv(out, "conv3"), "conv3") + norm(conv(x, "shortcut"), "shortcut")
    with torch.no_grad():
        torch.testing.assert_close(out.relu(), block(x))


@pytest.mark.parametrize(
    "key",
    [
        "fc.weight",
        "bn2.weight",
        "layer5.0.conv1.weight",
        "layer1.0.conv4.weight",
        "layer1.0.downsample.2.weight",
        "layer1.0.conv1",
        "module.conv1.weight",
    ],
)
def test_a_strange_key_is_named(key: str) -> None:
    with pytest.raises(BadInput, match=f"'{key}' is not a key of a torchvision ResNet"):
        to_detectron2({"conv1.weight": 1, key: 2})


@pytest.mark.parametrize(
    "key",
    [
        "stem.fc.weight",
        "stem.conv2.weight",
        "res1.0.conv1.weight",
        "res2.0.bn1.weight",
        "res6.0.conv1.weight",
        "conv1.weight",
    ],
)
def test_a_strange_detectron2_key_is_named(key: str) -> None:
    with pytest.raises(BadInput, match=f"'{key}' is not a key of a detectron2 ResNet"):
        from_detectron2({"stem.conv1.weight": 1, key: 2})


def test_a_misfit_names_three_of_each() -> None:
    own = {f"a{i}": torch.ones(2) for i in range(5)}
    check_fit(own, dict(own), "file")
    with pytest.raises(
        BadInput,
        match=r"'a0', 'a1', 'a2', \.\.\. are missing; 'b' is unexpected \(4 missing, 1 un",
    ):
        check_fit(own, {"a4": torch.ones(2), "b": torch.ones(1)}, "file")
    with pytest.raises(
        BadInput,
        match=r"'a4' is \(3,\), not \(2,\) \(0 missing, 0 unexpected, 1 of another shape, 4 of",
    ):
        check_fit(own, own | {"a4": torch.ones(3)}, "file")


def test_a_negative_variance_is_refused() -> None:
    """Its root is not a number, and neither is any feature."""
    state = {"bn1.weight": torch.tensor([-1.0]), "bn1.running_var": torch.tensor([0.0, 1.0])}
    check_finite(state, "a.pth")
    state["bn1.running_var"][1] = -1e-3
    with pytest.raises(BadInput, match=r"a\.pth has a negative variance, in bn1\.running_var"):
        check_finite(state, "a.pth")
