"""The segmentation network: dilated backbones, losses of both heads, schedule and rates."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric import Fabric
from torch.nn import functional as F
from torchvision.models import resnet50

from bench.contracts.registry import load
from bench.core.errors import BadInput
from bench.nn.backbones import build_backbone, load_backbone, save_backbone
from bench.nn.resnet import ResNetBackbone
from tasks._segmentation.model import Segmenter, build_optimizer, dilate, pixel_loss
from tasks._segmentation.protocol import poly
from tasks._shared import finetune as _finetune
from tests.tasks.segmentation import TASKS, context, micro

# Backbones


@pytest.mark.parametrize(
    ("output_stride", "flags"), [(8, [False, True, True]), (16, [False, False, True])]
)
def test_dilated_backbone_equals_torchvision(output_stride: int, flags: list[bool]) -> None:
    torch.manual_seed(0)
    reference = resnet50(replace_stride_with_dilation=flags).eval()
    mine = build_backbone("resnet50")
    assert isinstance(mine, ResNetBackbone)
    mine = dilate(mine, output_stride).eval()
    state = {k: v for k, v in reference.state_dict().items() if not k.startswith("fc.")}
    assert mine.load_state_dict(state).missing_keys == []
    images = torch.randn(1, 3, 72, 56)
    b = reference
    expected = b.layer4(b.layer3(b.layer2(b.layer1(b.maxpool(b.relu(b.bn1(b.conv1(images))))))))
    found = mine.maps(images)
    assert found.shape[2:] == (math.ceil(72 / output_stride), math.ceil(56 / output_stride))
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", ["resnet18", "resnet18_half", "resnet50_half"])
@pytest.mark.parametrize("output_stride", [8, 16])
def test_dilation_keeps_the_outputs_that_were_there(name: str, output_stride: int) -> None:
    """At every old position the dilated network gives what the strided one gave."""
    torch.manual_seed(1)
    strided = build_backbone(name).eval()
    dilated = build_backbone(name).eval()
    dilated.load_state_dict(strided.state_dict())
    assert isinstance(dilated, ResNetBackbone)
    dilate(dilated, output_stride)
    images = torch.randn(1, 3, 96, 64)
    with torch.no_grad():
        dense, sparse = dilated.maps(images), strided.maps(images)  # type: ignore[operator]
    step = 32 // output_stride
    assert dense.shape[2:] == (96 // output_stride, 64 // output_stride)
    assert torch.allclose(
        dense[:, :, ::step, ::step], sparse, atol=1e-4 * float(sparse.abs().max())
    )


def test_the_backbone_is_in_the_network_or_it_fails_loudly(tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = build_backbone("resnet18")
    save_backbone(tmp_path / "b.pth", source)
    model = Segmenter("resnet18", 5, micro())
    assert load_backbone(tmp_path / "b.pth", model.backbone) == len(source.state_dict()) == 120
    assert all(
        torch.equal(v, model.backbone.state_dict()[k]) for k, v in source.state_dict().items()
    )
    for damage, message in (("missing", "is missing"), ("extra", "is unexpected")):
        state = source.state_dict()
        if damage == "missing":
            del state["layer3.0.conv1.weight"]
        else:
            state["layer3.0.conv3.weight"] = torch.zeros(1)
        torch.save(state, tmp_path / "x.pth")
        with pytest.raises(BadInput, match=rf"layer3\.0\.conv[13]\.weight' {message}"):
            load_backbone(tmp_path / "x.pth", model.backbone)


@pytest.mark.parametrize("task", TASKS)
def test_backbones_that_cannot_be_dilated_are_told_why(task: str) -> None:
    asked: Any = load("task", task).resolve("tiny")
    for name in ("vit_tiny", "lab_resnet18", "resnet18_cifar"):
        assert 10 <= len(asked.supports(name)) <= 200
    assert asked.supports("resnet50") is asked.supports("resnet18_half_zeroinit") is None


# Losses and the schedule


def test_pixel_loss_is_the_mean_over_scored_pixels() -> None:
    torch.manual_seed(0)
    logits, targets = torch.randn(2, 4, 6, 5), torch.randint(0, 4, (2, 6, 5)).to(torch.uint8)
    targets[0, :3] = 255
    expected = F.cross_entropy(logits.double(), targets.long(), ignore_index=255)
    assert float(pixel_loss(logits, targets)) == pytest.approx(float(expected), rel=1e-6)
    larger = F.interpolate(logits, size=(12, 10), mode="bilinear")
    full = targets.repeat_interleave(2, 1).repeat_interleave(2, 2)
    expected = F.cross_entropy(larger, full.long(), ignore_index=255)
    assert float(pixel_loss(logits, full)) == pytest.approx(float(expected), rel=1e-6)
    assert float(pixel_loss(logits, torch.full_like(targets, 255))) == 0.0


def test_losses_of_both_heads() -> None:
    torch.manual_seed(0)
    model = (
        Segmenter("resnet18", 5, micro(dropout=0.0, aux_weight=0.4)).eval().requires_grad_(False)
    )
    images, targets = torch.randn(2, 3, 48, 64), torch.randint(0, 5, (2, 48, 64)).to(torch.uint8)
    found = model.losses(images, targets)
    assert float(found["loss_seg"]) == pytest.approx(
        float(pixel_loss(model(images), targets)), rel=1e-5
    )
    assert model.aux is not None
    c4, c5 = model.features(images)
    assert c4.shape[1:] == (256, 6, 8)
    assert c5.shape[1:] == (512, 6, 8)
    assert float(found["loss_aux"]) == pytest.approx(
        0.4 * float(pixel_loss(model.aux(c4), targets)), rel=1e-5
    )
    assert set(Segmenter("resnet18", 5, micro(aux_weight=0)).losses(images, targets)) == {
        "loss_seg"
    }


def test_polynomial_schedule() -> None:
    p: Any = load("task", "cityscapes_seg").resolve("paper").params
    assert poly(0, p) == p.lr == 0.02
    assert poly(20_000, p) == pytest.approx((0.02 - 1e-4) * 0.5**0.9 + 1e-4)
    assert poly(39_999, p) == pytest.approx(1e-4, abs=2e-6)
    expected = torch.optim.lr_scheduler.PolynomialLR(
        torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.0199), 40_000, 0.9
    )
    for step in range(5):
        assert poly(step, p) == pytest.approx(expected.get_last_lr()[0] + 1e-4, rel=1e-9)
        expected.optimizer.step()
        expected.step()


def test_every_weight_is_in_one_group(tmp_path: Path) -> None:
    p = micro("cityscapes_seg", head_lr=10.0)
    model = Segmenter("resnet18", 5, p)
    body, heads = build_optimizer(model, p).param_groups
    assert len(body["params"]) == len(list(model.backbone.parameters()))
    assert len(body["params"]) + len(heads["params"]) == len(list(model.parameters()))
    assert (body["weight_decay"], heads["weight_decay"], heads["momentum"]) == (5e-4, 5e-4, 0.9)
    seen: list[list[float]] = []
    optimizer = build_optimizer(model, p)
    optimizer.register_step_pre_hook(lambda o, *_: seen.append([g["lr"] for g in o.param_groups]))
    batch = torch.randn(2, 3, 48, 64), torch.zeros(2, 48, 64, dtype=torch.uint8)
    loop = _finetune.Loop(
        3, 0.1, lambda start: [batch] * 3, lambda b: model.losses(*b), lambda s: 0.1 / (s + 1), 0
    )
    _finetune.fit(context(tmp_path), model, optimizer, loop, Fabric(accelerator="cpu", devices=1))
    assert [v for pair in seen for v in pair] == pytest.approx(
        [0.1, 1.0, 0.05, 0.5, 0.1 / 3, 1 / 3]
    )
