"""Layouts of ConvNeXt, Swin, CLIP and torchvision's transformers, found by their keys: the name of
timm's network by the shapes, and torchvision's keys under timm's names."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from timm.data import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD
from torch import Tensor

from bench.core.errors import BadInput
from bench.nn.checkpoint import Flat
from bench.nn.found import Found, choose_prefix, place_of
from bench.nn.hf_keys import Rules, rename
from bench.nn.timm_guess import HEADS, State, count_blocks
from bench.nn.timm_names import TimmName
from bench.nn.timm_weights import IMAGENET, Normalisation, fit_timm, take_below

TV_VIT: Rules = (
    (r"^class_token$", "cls_token"),
    (r"^encoder\.pos_embedding$", "pos_embed"),
    (r"^conv_proj\.", "patch_embed.proj."),
    (r"^encoder\.layers\.encoder_layer_(\d+)\.", r"blocks.\1."),
    (r"\.ln_([12])\.", r".norm\1."),
    (r"\.self_attention\.in_proj_", ".attn.qkv."),
    (r"\.self_attention\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.(?:linear_1|0)\.", ".mlp.fc1."),
    (r"\.mlp\.(?:linear_2|3)\.", ".mlp.fc2."),
    (r"^encoder\.ln\.", "norm."),
)


@dataclass(frozen=True)
class Layout:
    """anchors: keys that a checkpoint of it has, after a prefix. name: the network of its tensors.
    convert: to names that timm or its filter knows."""

    anchors: tuple[str, ...]
    name: Callable[[State, str], TimmName]
    convert: Callable[[Flat], Flat] = dict
    remark: str = ""
    normalisation: Normalisation = IMAGENET  # of the pixels


def find_layout(flat: Flat, source: str) -> Found | None:
    """The backbone of the first layout that fits; None where none does."""
    for layout in LAYOUTS:
        first, *others = layout.anchors
        prefixes = [
            p
            for key in flat
            if key.endswith(first) and (not (p := key.removesuffix(first)) or p.endswith("."))
            if all(p + other in flat for other in others)
        ]
        if prefixes:
            prefix = choose_prefix(flat, prefixes, lambda p: take_below(flat, p), source)
            given = layout.convert(take_below(flat, prefix))
            name = layout.name(given, source).text()
            found = fit_timm(given, name, source, layout.normalisation)
            left = Counter(place_of(k, prefix) for k in flat if not k.startswith(prefix))
            left.update({f"{prefix}{place}": n for place, n in found.left.items()})
            remarks = (layout.remark,) if layout.remark else ()
            return replace(found, prefix=prefix, left=dict(left), remarks=remarks)
    return None


def _name_convnext(state: State, source: str) -> TimmName:
    if "downsample_layers.0.0.weight" in state:
        blocks, width = r"stages\.(\d+)\.(\d+)\.dwconv", r"stages.{}.0.dwconv.weight"
    else:
        blocks, width = r"stages\.(\d+)\.blocks\.(\d+)\.", r"stages.{}.blocks.0.conv_dw.weight"
    depths = count_blocks(state, blocks)
    dims = tuple(int(state[width.format(i)].shape[0]) for i in range(len(depths)))
    second = any(re.search(r"\.grn\.", key) for key in state)
    model = "convnextv2_tiny" if second else "convnext_tiny"
    first = state.get("stages.0.blocks.0.mlp.fc1.weight")
    more = {"conv_mlp": True} if first is not None and first.ndim == 4 else {}
    return TimmName(model, {"depths": depths, "dims": dims, **more})


def _name_swin(state: State, source: str) -> TimmName:
    depths = count_blocks(state, r"layers\.(\d+)\.blocks\.(\d+)\.norm1")
    table = "layers.{}.blocks.0.attn.relative_position_bias_table"
    tables = [state[table.format(i)] for i in range(len(depths))]
    window = (math.isqrt(int(tables[0].shape[0])) + 1) // 2
    dim = int(state["patch_embed.proj.weight"].shape[0])
    hidden = int(state["layers.0.blocks.0.mlp.fc1.weight"].shape[0])
    settings = {
        "img_size": 32 * window,
        "window_size": window,
        "embed_dim": dim,
        "depths": depths,
        "num_heads": tuple(int(t.shape[1]) for t in tables),
        "mlp_ratio": hidden / dim,
    }
    return TimmName("swin_tiny_patch4_window7_224", settings)


def _name_clip(state: State, source: str) -> TimmName:
    dim, _, patch, _ = (int(n) for n in state["visual.conv1.weight"].shape)
    layers = {k.split(".")[3] for k in state if k.startswith("visual.transformer.resblocks.")}
    settings = {
        "img_size": math.isqrt(int(state["visual.positional_embedding"].shape[0]) - 1) * patch,
        "patch_size": patch,
        "embed_dim": dim,
        "depth": len(layers),
        "num_heads": max(dim // 64, 1),  # the rule of OpenAI's code
    }
    return TimmName("vit_base_patch16_clip_quickgelu_224", settings)


def _name_tv_vit(state: State, source: str) -> TimmName:
    dim, _, patch, _ = (int(n) for n in state["patch_embed.proj.weight"].shape)
    if dim not in HEADS:
        raise BadInput(f"{source} holds a ViT of width {dim}, whose heads no tensor tells")
    settings = {
        "img_size": math.isqrt(int(state["pos_embed"].shape[1]) - 1) * patch,
        "patch_size": patch,
        "embed_dim": dim,
        "depth": len({k.split(".")[1] for k in state if k.startswith("blocks.")}),
        "num_heads": HEADS[dim],
        "mlp_ratio": int(state["blocks.0.mlp.fc1.weight"].shape[0]) / dim,
    }
    return TimmName("vit_base_patch16_224", settings)


def _convert_tv_vit(flat: Flat) -> Flat:
    return rename(flat, TV_VIT)


def _convert_tv_stages(flat: Flat, block: Rules, stage: str, down: Rules) -> Flat:
    """torchvision's `features`: the stem, then blocks and downsampling in turns."""
    renamed: Flat = {}
    for key, value in flat.items():
        match = re.match(r"features\.(\d+)\.(.*)", key)
        if match is None:
            renamed[key] = value
            continue
        number, rest = int(match[1]), match[2]
        rules = ((r"^", "stem."),) if number == 0 else block if number % 2 else down
        at = f"{stage}.{(number - 1) // 2 if number % 2 else number // 2}."
        new = rest
        for pattern, text in rules:
            new = re.sub(pattern, text, new)
        renamed[new if number == 0 else at + new] = value
    return renamed


def _convert_tv_convnext(flat: Flat) -> Flat:
    block: Rules = (
        (r"^(\d+)\.", r"blocks.\1."),
        (r"layer_scale$", "gamma"),
        (r"block\.0\.", "conv_dw."),
        (r"block\.2\.", "norm."),
        (r"block\.3\.", "mlp.fc1."),
        (r"block\.5\.", "mlp.fc2."),
    )
    state = _convert_tv_stages(flat, block, "stages", ((r"^", "downsample."),))
    named = {re.sub(r"^classifier\.0\.", "head.norm.", k): v for k, v in state.items()}
    return {k: _flatten_scale(k, v) for k, v in named.items()}


def _flatten_scale(key: str, value: Tensor) -> Tensor:
    return value.flatten() if key.endswith(".gamma") else value


def _convert_tv_swin(flat: Flat) -> Flat:
    block: Rules = (
        (r"^(\d+)\.", r"blocks.\1."),
        (r"mlp\.0\.", "mlp.fc1."),
        (r"mlp\.3\.", "mlp.fc2."),
    )
    state = _convert_tv_stages(flat, block, "layers", ((r"^", "downsample."),))
    stem = {"stem.0.": "patch_embed.proj.", "stem.2.": "patch_embed.norm."}
    renamed = {}
    for key, value in state.items():
        for old, new in stem.items():
            key = key.replace(old, new) if key.startswith(old) else key
        renamed[key] = value
    return renamed


LAYOUTS = (
    Layout(("layers.0.blocks.0.attn.relative_position_bias_table",), _name_swin),
    Layout(("downsample_layers.0.0.weight",), _name_convnext),
    Layout(("stages.0.blocks.0.conv_dw.weight", "stem.0.weight"), _name_convnext),
    Layout(
        ("visual.transformer.resblocks.0.ln_1.weight", "visual.class_embedding"),
        _name_clip,
        remark="read as OpenAI's, with quick GELU, which no tensor tells; for another activation: "
        "--backbone timm:vit_base_patch16_clip_224=FILE",
        normalisation=(list(OPENAI_CLIP_MEAN), list(OPENAI_CLIP_STD)),
    ),
    Layout(
        ("encoder.layers.encoder_layer_0.ln_1.weight", "conv_proj.weight"),
        _name_tv_vit,
        _convert_tv_vit,
    ),
    Layout(("features.1.0.block.0.weight",), _name_convnext, _convert_tv_convnext),
    Layout(
        ("features.1.0.attn.relative_position_bias_table",),
        _name_swin,
        _convert_tv_swin,
    ),
)
