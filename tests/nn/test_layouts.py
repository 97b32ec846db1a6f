"""Files in the layouts of ConvNeXt's, Swin's, CLIP's and DINO's authors, of torchvision and timm,
each against the network that wrote it; nothing but the file is given."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.convnext import CNBlockConfig

from bench.core.errors import BadInput
from bench.nn.backbones import build_backbone
from bench.nn.found import Found
from bench.nn.weights import find_backbone

State = dict[str, Tensor]
SWIN = {"depths": (1, 1, 2, 1), "embed_dim": 24, "num_heads": (1, 2, 4, 8)}


def lively(net: nn.Module) -> nn.Module:
    """Every parameter and statistic unlike its start."""
    generator = torch.Generator().manual_seed(0)
    for name, value in net.state_dict().items():
        if value.is_floating_point():
            shift = 0.3 * torch.randn(value.shape, generator=generator)
            value.add_(shift.abs() if "running_var" in name else shift * value.std().nan_to_num(1))
    return net.eval()


def timms(name: str, **settings: Any) -> nn.Module:
    torch.manual_seed(0)
    return lively(timm.create_model(name, num_classes=0, **settings))


@torch.no_grad()
def check(found: Found, wanted: Tensor, images: Tensor) -> None:
    network = build_backbone(found.backbone)
    network.load_state_dict(found.state, strict=True)
    torch.testing.assert_close(network.eval()(images), wanted, rtol=1e-4, atol=1e-4)


# -- torchvision, whose own forward is the reference


def tv_convnext() -> tuple[nn.Module, int]:
    sizes = (16, 24, 32, 40)
    settings = [
        CNBlockConfig(width, after, depth)
        for width, after, depth in zip(sizes, (*sizes[1:], None), (1, 1, 2, 1), strict=True)
    ]
    return torchvision.models.ConvNeXt(settings, num_classes=5, layer_scale=0.5), 64


def tv_swin() -> tuple[nn.Module, int]:
    return torchvision.models.SwinTransformer(
        [4, 4], 24, [2, 1, 2, 1], [1, 2, 4, 8], [7, 7], num_classes=5
    ), 224


def tv_vit() -> tuple[nn.Module, int]:
    return torchvision.models.VisionTransformer(64, 16, 2, 3, 192, 384, num_classes=5), 64


@pytest.mark.parametrize("build", [tv_convnext, tv_swin, tv_vit])
@torch.no_grad()
def test_torchvisions(build: Callable[[], tuple[nn.Module, int]]) -> None:
    torch.manual_seed(0)
    net, side = build()
    lively(net)
    state = {f"module.{k}": v for k, v in net.state_dict().items()}
    found = find_backbone(state, "file.pth")
    images = torch.randn(1, 3, side, side)
    for name in ("heads", "head"):
        if hasattr(net, name):
            setattr(net, name, nn.Identity())
    if hasattr(net, "classifier"):
        net.classifier[-1] = nn.Identity()  # type: ignore[index,operator]
    check(found, net(images), images)
    assert sum(found.left.values()) == 2
    assert found.prefix == "module."


@pytest.mark.parametrize(
    ("name", "backbone"),
    [
        ("wide_resnet50_2", "timm:wide_resnet50_2"),
        ("resnext50_32x4d", "timm:resnext50_32x4d"),
        ("resnet152", "timm:resnet152"),
    ],
)
def test_other_resnets_of_torchvision_by_name(name: str, backbone: str) -> None:
    with torch.device("meta"):
        state = getattr(torchvision.models, name)().state_dict()
    small = {k: torch.zeros(()).expand(v.shape) for k, v in state.items()}
    found = find_backbone(small, "file.pth")
    assert (found.backbone, found.left) == (backbone, {"fc": 2})
    assert found.matched == len(state) - 2


@torch.no_grad()
def test_a_wide_resnet_computes_what_torchvisions_does() -> None:
    torch.manual_seed(0)
    net = lively(torchvision.models.wide_resnet50_2())
    images = torch.randn(1, 3, 64, 64)
    found = find_backbone(net.state_dict(), "file.pth")
    net.fc = nn.Identity()
    wanted = net(images)
    network = build_backbone(found.backbone).eval()
    network.load_state_dict(found.state)
    torch.testing.assert_close(network(images), wanted, rtol=1e-4, atol=1e-4 * wanted.abs().max())


# -- timm's own files, and their authors' through names written out here


def plain(state: State) -> State:
    return state


def facebook_convnext(state: State) -> State:
    """facebookresearch/ConvNeXt's names."""
    rules = (
        (r"^stem\.", "downsample_layers.0."),
        (r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1."),
        (r"^stages\.(\d)\.blocks\.", r"stages.\1."),
        (r"conv_dw", "dwconv"),
        (r"mlp\.fc(\d)", r"pwconv\1"),
        (r"mlp\.grn\.weight", "grn.gamma"),
        (r"mlp\.grn\.bias", "grn.beta"),
        (r"^head\.norm", "norm"),
    )
    named = {}
    for key, value in state.items():
        for pattern, new in rules:
            key = re.sub(pattern, new, key)
        named[key] = value.view(1, 1, 1, -1) if "grn" in key else value
    return named


def microsoft_swin(state: State) -> State:
    """microsoft/Swin-Transformer's: a stage halves the map at its end; buffers are stored."""
    named = {
        re.sub(r"layers\.(\d)\.downsample", lambda m: f"layers.{int(m[1]) - 1}.downsample", k): v
        for k, v in state.items()
    }
    return named | {"layers.0.blocks.0.attn.relative_position_index": torch.zeros(49, 49)}


def meta_dinov2(state: State) -> State:
    """facebookresearch/dinov2's: a mask token, and positions of class and patches in one table."""
    named = dict(state) | {"mask_token": torch.zeros(1, 192)}
    registers = named.pop("reg_token", None)
    if registers is not None:
        named["register_tokens"] = registers
        zero = torch.zeros(1, 1, named["pos_embed"].shape[2])
        named["pos_embed"] = torch.cat([zero, named["pos_embed"]], 1)
    return named


def meta_dinov2_training(state: State) -> State:
    """Of its pretraining: a teacher's backbone beside a student's, with heads."""
    teacher = {f"teacher.backbone.{k}": v for k, v in meta_dinov2(state).items()}
    student = {f"student.backbone.{k}": v + 1 for k, v in meta_dinov2(state).items()}
    return {**student, **teacher, "teacher.dino_head.mlp.0.weight": torch.ones(2, 2)}


def openai_clip(state: State) -> State:
    """openai/CLIP's visual tower, beside the text's."""
    rules = (
        (r"^patch_embed\.proj", "conv1"),
        (r"^pos_embed", "positional_embedding"),
        (r"^cls_token", "class_embedding"),
        (r"^norm_pre", "ln_pre"),
        (r"^norm\.", "ln_post."),
        (r"^blocks\.", "transformer.resblocks."),
        (r"\.norm(\d)", r".ln_\1"),
        (r"\.attn\.qkv\.", ".attn.in_proj_"),
        (r"\.attn\.proj\.", ".attn.out_proj."),
        (r"\.mlp\.fc1", ".mlp.c_fc"),
        (r"\.mlp\.fc2", ".mlp.c_proj"),
    )
    named = {"logit_scale": torch.ones(()), "transformer.resblocks.0.ln_1.weight": torch.ones(3)}
    for key, value in state.items():
        for pattern, new in rules:
            key = re.sub(pattern, new, key)
        named[f"visual.{key}"] = value.squeeze(0) if value.shape[:1] == (1,) else value
    named["visual.class_embedding"] = named["visual.class_embedding"].flatten()
    return named | {"visual.proj": torch.ones(192, 5)}


def mm_resnet_d(state: State) -> State:
    """mmpretrain's ResNetV1d: the stem is one sequence."""
    stem = {"conv1.0": "0", "conv1.1": "1", "conv1.3": "3", "conv1.4": "4", "conv1.6": "6"}
    stem["bn1"] = "7"
    named = {}
    for key, value in state.items():
        first = next((s for s in stem if key.startswith(f"{s}.")), "")
        named[
            f"backbone.stem.{stem[first]}{key.removeprefix(first)}"
            if first
            else (f"backbone.{key}")
        ] = value
    return {f"state_dict.{k}": v for k, v in named.items()}


CONVNEXT = {"depths": (1, 1, 2, 1), "dims": (8, 12, 16, 24)}
VIT = {"embed_dim": 192, "depth": 2, "num_heads": 3}
DINO = {**VIT, "img_size": 56}
CASES: dict[str, tuple[str, dict[str, Any], Callable[[State], State], int]] = {
    "timm's ConvNeXt": ("convnext_tiny", CONVNEXT, plain, 64),
    "ConvNeXt": ("convnext_tiny", CONVNEXT, facebook_convnext, 64),
    "ConvNeXt V2": ("convnextv2_tiny", CONVNEXT, facebook_convnext, 64),
    "timm's ConvNeXt V2 of 1x1 convolutions": ("convnextv2_atto", CONVNEXT, plain, 64),
    "timm's Swin": ("swin_tiny_patch4_window7_224", SWIN, plain, 224),
    "Swin": ("swin_tiny_patch4_window7_224", SWIN, microsoft_swin, 224),
    "timm's DINOv2": ("vit_small_patch14_dinov2", DINO, plain, 56),
    "DINOv2": ("vit_small_patch14_dinov2", DINO, meta_dinov2, 56),
    "DINOv2's training": ("vit_small_patch14_dinov2", DINO, meta_dinov2_training, 56),
    "DINOv2 with registers": ("vit_small_patch14_reg4_dinov2", DINO, meta_dinov2, 56),
    "timm's DINOv2 with registers": ("vit_small_patch14_reg4_dinov2", DINO, plain, 56),
    "DINO's ViT with patches of 8": (
        "vit_tiny_patch16_224",
        {**VIT, "patch_size": 8, "img_size": 32, "global_pool": "avg", "fc_norm": False},
        plain,
        32,
    ),
    "CLIP": ("vit_base_patch16_clip_quickgelu_224", {**VIT, "img_size": 32}, openai_clip, 32),
    "ResNet-18-D": ("resnet18d", {}, plain, 64),
    "mm's ResNet-D": ("resnet18d", {}, mm_resnet_d, 64),
}


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_a_file_alone_tells_its_network(case: str) -> None:
    name, settings, layout, side = CASES[case]
    net = timms(name, **settings)
    found = find_backbone(layout(dict(net.state_dict())), "file.pth")
    images = torch.randn(1, 3, side, side)
    shown = images
    network = build_backbone(found.backbone)
    network.load_state_dict(found.state, strict=True)
    shown = network.prepare(images)  # type: ignore[operator]
    wanted = net(shown)
    torch.testing.assert_close(network.eval()(images), wanted, rtol=1e-4, atol=1e-4)
    assert found.matched == len(net.state_dict())


@torch.no_grad()
def test_a_dinov3_file_tells_its_network() -> None:
    """Meta's names: storage tokens, layer scale inside, one bias for q, k and v."""
    net = timms("vit_small_patch16_dinov3_qkvb", **VIT, global_pool="token")
    state = {}
    for key, value in net.state_dict().items():
        key = key.replace("reg_token", "storage_tokens")
        key = re.sub(r"gamma_(\d)$", r"ls\1.gamma", key)
        if key.endswith("q_bias"):
            start = key.removesuffix("q_bias")
            v = net.state_dict()[f"{start}v_bias"]
            state[f"{start}qkv.bias"] = torch.cat([value, torch.zeros_like(value), v])
        elif not key.endswith("v_bias"):
            state[key] = value
    state["rope_embed.periods"] = torch.ones(16)
    found = find_backbone(state | {"mask_token": torch.zeros(1, 192)}, "file.pth")
    images = torch.randn(1, 3, 64, 64)
    check(found, net(images), images)
    assert "qkv_bias=true" in found.backbone


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"embed_dim": 200, "num_heads": 2}, "width 200, whose number of attention heads no"),
        ({"pre_norm": True}, "a norm before its blocks, whose further settings no tensor"),
        ({"pos_embed": "none"}, "other positions than a table"),
    ],
)
def test_what_no_tensor_tells_is_asked_for(change: dict[str, Any], message: str) -> None:
    state = timms("vit_small_patch14_dinov2", **{**DINO, **change}).state_dict()
    with pytest.raises(BadInput, match=message) as caught:
        find_backbone(dict(state), "file.pth")
    assert "--backbone timm:" in str(caught.value)
