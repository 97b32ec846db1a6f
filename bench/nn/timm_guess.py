"""Which of timm's networks a checkpoint holds, by the shapes of its tensors."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from bench.core.errors import BadInput
from bench.nn.timm_names import TimmName

State = Mapping[str, Tensor]
# Of attention, by the width: those of DeiT, ViT and DINOv2, since no tensor tells them.
HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1152: 16, 1280: 16, 1408: 16, 1536: 24, 4096: 32}
BASIC: dict[tuple[int, ...], int] = {(2, 2, 2, 2): 18, (3, 4, 6, 3): 34}  # blocks of stages
BOTTLENECK: dict[tuple[int, ...], int] = {(3, 4, 6, 3): 50, (3, 4, 23, 3): 101, (3, 8, 36, 3): 152}
PLAIN = {  # channels and groups of the first 3x3 convolution, layers
    (64, 1, 152): "resnet152",
    (128, 1, 50): "wide_resnet50_2",
    (128, 1, 101): "wide_resnet101_2",
    (128, 32, 50): "resnext50_32x4d",
    (128, 32, 101): "resnext101_32x4d",
    (256, 32, 101): "resnext101_32x8d",
}


def name_timm_resnet(state: State, bottlenecks: bool, counts: tuple[int, ...]) -> str:
    """A ResNet-152, a wide ResNet, a ResNeXt, a ResNet-C or -D, under torchvision's names; "" for
    what is none of them."""
    layers = (BOTTLENECK if bottlenecks else BASIC).get(counts)
    conv = state.get("layer1.0.conv2.weight")
    if layers is None or conv is None:
        return ""
    width, groups = int(conv.shape[0]), int(conv.shape[0] // conv.shape[1])
    if "conv1.0.weight" in state:  # three convolutions as the stem
        standard = state["conv1.0.weight"].shape[0] == 32 and (width, groups) == (64, 1)
        pooled = "layer2.0.downsample.1.weight" in state and (
            state["layer2.0.downsample.1.weight"].ndim == 4
        )
        return f"timm:resnet{layers}{'d' if pooled else 'c'}" if standard else ""
    name = PLAIN.get((width, groups, layers)) if bottlenecks else None
    return f"timm:{name}" if name else ""


def name_timm_vit(state: State, source: str, known: bool) -> str:
    """A vision transformer with registers, layer scale, another norm or rotary positions, or of a
    size that bench has no name for (`known`: it has one); "" for what is none of them."""
    scaled, pre = "blocks.0.ls1.gamma" in state, "norm_pre.weight" in state
    marks = [k for k in ("reg_token", "register_tokens", "storage_tokens") if k in state]
    if known and not (scaled or pre or marks):
        return ""
    dim, _, patch, _ = (int(n) for n in state["patch_embed.proj.weight"].shape)
    settings: dict[str, Any] = {
        "patch_size": patch,
        "embed_dim": dim,
        "depth": len({k.split(".")[1] for k in state if k.startswith("blocks.")}),
        "num_heads": _find_heads(dim, source),
    }
    if marks == ["storage_tokens"]:
        return _name_dinov3(state, settings)
    if "pos_embed" not in state or pre:
        raise BadInput(
            f"{source} holds a ViT {'with a norm before its blocks' if pre else 'of other'}"
            f"{'' if pre else ' positions than a table'}, whose further settings no tensor tells; "
            f"try: --backbone timm:NAME={source}"
        )
    registers = int(state[marks[0]].shape[1]) if marks else 0
    settings |= _read_places(state, registers, patch) | _read_mlp(state, dim)
    if not scaled:  # pooled like bench's own transformers
        settings |= {"global_pool": "avg", "fc_norm": False}
    gated = settings.pop("gated")
    model = "vit_base_patch14_dinov2" if scaled else "vit_base_patch16_224"
    return TimmName("vit_giant_patch14_dinov2" if gated else model, settings).text()


def _read_places(state: State, registers: int, patch: int) -> dict[str, Any]:
    """The side of the images of the position table, and which tokens have a place in it."""
    count = int(state["pos_embed"].shape[1])
    more: dict[str, Any] = {"reg_tokens": registers} if registers else {}
    every = registers + 1 if "cls_token" in state else registers
    if "register_tokens" in state:  # DINOv2's own, which timm's filter moves into the class token
        every, more["no_embed_class"] = 1, True
    elif registers and math.isqrt(count) ** 2 == count:
        every, more["no_embed_class"] = 0, True
    if "cls_token" not in state:
        more["class_token"] = False
    return {**more, "img_size": math.isqrt(count - every) * patch}


def _read_mlp(state: State, dim: int) -> dict[str, Any]:
    """Its ratio, and whether it is gated (the first layer twice as wide as what the second is
    given)."""
    names = (("mlp.fc1", "mlp.fc2"), ("mlp.w12", "mlp.w3"))
    first, second = next(
        (state[f"blocks.0.{a}.weight"], state[f"blocks.0.{b}.weight"])
        for a, b in names
        if f"blocks.0.{a}.weight" in state
    )
    hidden = int(first.shape[0])
    return {"mlp_ratio": hidden / dim, "gated": hidden == 2 * second.shape[1]}


def _name_dinov3(state: State, settings: dict[str, Any]) -> str:
    settings |= {
        "num_reg_tokens": int(state["storage_tokens"].shape[1]),
        "qkv_bias": "blocks.0.attn.qkv.bias" in state,
        "global_pool": "token",
    }
    gate = state.get("blocks.0.mlp.w1.weight")
    first = state["blocks.0.mlp.fc1.weight"] if gate is None else gate
    settings["mlp_ratio"] = int(first.shape[0]) / settings["embed_dim"]
    if gate is not None:
        settings |= {"swiglu_mlp": True, "swiglu_align_to": 1}
    return TimmName("vit_small_patch16_dinov3", settings).text()


def _find_heads(dim: int, source: str) -> int:
    if dim not in HEADS:
        raise BadInput(
            f"{source} holds a ViT of width {dim}, whose number of attention heads no tensor "
            f"tells; try: --backbone timm:vit_base_patch16_224,embed_dim={dim},num_heads=N="
            f"{source}"
        )
    return HEADS[dim]


def count_blocks(state: State, pattern: str) -> tuple[int, ...]:
    """Blocks of each stage, where `pattern` has two groups, the stage and the block."""
    pairs = {(int(m[1]), int(m[2])) for k in state if (m := re.match(pattern, k))}
    return tuple(sum(s == stage for s, _ in pairs) for stage in sorted({s for s, _ in pairs}))
