"""Checkpoints of Hugging Face's transformers: a folder with config.json and the weights.

transformers is not needed: timm builds the network that the configuration describes, and
`bench.nn.hf_keys` gives the tensors timm's names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from bench.core.errors import BadInput, brief, unknown
from bench.nn import hf_keys as keys
from bench.nn.found import Found, choose_prefix, place_of
from bench.nn.timm_names import OURS, TimmName, find_pooling, is_tagged
from bench.nn.timm_weights import IMAGENET, Normalisation, fit_timm, take_below
from bench.nn.weights import find_backbone

Config = dict[str, Any]
Flat = dict[str, Tensor]
ACTIVATIONS = {
    "gelu": "gelu",
    "quick_gelu": "quick_gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
}


@dataclass(frozen=True)
class Family:
    """anchor: a key that every checkpoint of it has, after whatever prefix. convert: to timm's
    names. name: the timm network of a configuration; None where torchvision has it. defaults: of
    fields that configurations leave out."""

    anchor: str
    convert: keys.Convert
    name: Callable[[Config], TimmName] | None
    defaults: Config = field(default_factory=dict)


def _square(value: Any) -> int:
    return int(value[0] if isinstance(value, list | tuple) else value)


def _ratio(width: int, hidden: int) -> float:
    """The MLP ratio r for which int(width * r) is `hidden`."""
    ratio = hidden / width
    return ratio if int(width * ratio) == hidden else (hidden + 0.5) / width


def _vit(c: Config) -> dict[str, Any]:
    """What all transformers share."""
    width = int(c["hidden_size"])
    settings: dict[str, Any] = {
        "img_size": _square(c["image_size"]),
        "patch_size": _square(c["patch_size"]),
        "embed_dim": width,
        "depth": int(c["num_hidden_layers"]),
        "num_heads": int(c["num_attention_heads"]),
        "eps": float(c["layer_norm_eps"]),
    }
    if "intermediate_size" in c:
        settings["mlp_ratio"] = _ratio(width, int(c["intermediate_size"]))
    else:
        settings["mlp_ratio"] = float(c["mlp_ratio"])
    return settings


def _activation(c: Config) -> dict[str, Any]:
    act = str(c["hidden_act"])
    if act not in ACTIVATIONS:
        raise BadInput(f"config.json has the activation {brief(act)}, which is not known here")
    return {} if act == "gelu" else {"act_layer": ACTIVATIONS[act]}


def _plain_vit(c: Config) -> TimmName:
    more = {"qkv_bias": False} if not c.get("qkv_bias", True) else {}
    return TimmName("vit_base_patch16_224", {**_vit(c), **_activation(c), **more})


def _mae(c: Config) -> TimmName:
    name = _plain_vit(c)
    pooled = {"global_pool": "avg", "fc_norm": False}
    return TimmName(name.model, {**name.settings, **pooled})


def _deit(c: Config) -> TimmName:
    name = _plain_vit(c)
    return TimmName(name.model, {**name.settings, "reg_tokens": 1})


def _dinov2(c: Config) -> TimmName:
    settings = _vit(c)
    if c.get("use_swiglu_ffn"):
        width = settings["embed_dim"]
        hidden = (int(int(width * c["mlp_ratio"]) * 2 / 3) + 7) // 8 * 8
        settings["mlp_ratio"] = _ratio(width, 2 * hidden)
        return TimmName("vit_giant_patch14_dinov2", settings)
    return TimmName("vit_base_patch14_dinov2", {**settings, **_activation(c)})


def _dinov2_registers(c: Config) -> TimmName:
    name = _dinov2(c)
    more = {"reg_tokens": int(c["num_register_tokens"]), "no_embed_class": True}
    return TimmName(name.model, {**name.settings, **more})


def _dinov3(c: Config) -> TimmName:
    if c["key_bias"] or bool(c["query_bias"]) != bool(c["value_bias"]):
        raise BadInput("config.json has a DINOv3 with other biases than Meta's, which timm lacks")
    settings = _vit(c) | {
        "num_reg_tokens": int(c["num_register_tokens"]),
        "qkv_bias": bool(c["query_bias"]),
        "rope_temperature": float(c["rope_theta"]),
        "global_pool": "token",
    }
    if c["use_gated_mlp"]:
        if c["hidden_act"] != "silu":
            raise BadInput("config.json has a gated MLP without SiLU, which timm lacks")
        settings |= {"swiglu_mlp": True, "swiglu_align_to": 1}
    return TimmName("vit_small_patch16_dinov3", settings)


def _clip(c: Config) -> TimmName:
    return TimmName("vit_base_patch16_clip_224", {**_vit(c), **_activation(c)})


def _siglip(c: Config) -> TimmName:
    return TimmName("vit_base_patch16_siglip_224", {**_vit(c), **_activation(c)})


def _swin(c: Config) -> TimmName:
    if c.get("use_absolute_embeddings"):
        raise BadInput("config.json has a Swin with absolute positions, which timm lacks")
    settings = {
        "img_size": _square(c["image_size"]),
        "patch_size": _square(c["patch_size"]),
        "window_size": int(c["window_size"]),
        "embed_dim": int(c["embed_dim"]),
        "depths": tuple(c["depths"]),
        "num_heads": tuple(c["num_heads"]),
        "mlp_ratio": float(c["mlp_ratio"]),
        "eps": float(c["layer_norm_eps"]),
    }
    return TimmName("swin_tiny_patch4_window7_224", settings)


def _convnext(c: Config) -> TimmName:
    settings = {"depths": tuple(c["depths"]), "dims": tuple(c["hidden_sizes"])}
    return TimmName("convnext_tiny", {**settings, **_activation(c)})


def _convnext_v2(c: Config) -> TimmName:
    return TimmName("convnextv2_tiny", _convnext(c).settings)


TINY = {"depths": [3, 3, 9, 3], "hidden_sizes": [96, 192, 384, 768], "hidden_act": "gelu"}
BASE: Config = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "image_size": 224,
    "patch_size": 16,
}
VIT = {**BASE, "intermediate_size": 3072}
DINOV2 = {**BASE, "mlp_ratio": 4, "layer_norm_eps": 1e-6}
DINOV3: Config = {
    **{**VIT, "hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536},
    **{"layer_norm_eps": 1e-5, "rope_theta": 100.0, "num_register_tokens": 0},
    **{"query_bias": True, "key_bias": False, "value_bias": True, "use_gated_mlp": False},
}
SWIN: Config = {
    **{"image_size": 224, "patch_size": 4, "embed_dim": 96, "depths": [2, 2, 6, 2]},
    **{"num_heads": [3, 6, 12, 24], "window_size": 7, "mlp_ratio": 4.0, "layer_norm_eps": 1e-5},
}
CLIP = {**VIT, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5, "patch_size": 32}
SIGLIP = {**VIT, "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6}
PATCHES = "embeddings.patch_embeddings.projection.weight"
PATCH = "embeddings.patch_embedding.weight"
STEM = "embeddings.patch_embeddings.weight"
FAMILIES: dict[str, Family] = {
    "resnet": Family("embedder.embedder.convolution.weight", keys.convert_resnet, None),
    "vit": Family(PATCHES, keys.convert_vit, _plain_vit, VIT),
    "vit_msn": Family(PATCHES, keys.convert_vit, _plain_vit, {**VIT, "layer_norm_eps": 1e-6}),
    "vit_mae": Family(PATCHES, keys.convert_vit, _mae, VIT),
    "deit": Family(PATCHES, keys.convert_vit, _deit, VIT),
    "dinov2": Family(PATCHES, keys.convert_vit, _dinov2, DINOV2),
    "dinov2_with_registers": Family(
        PATCHES, keys.convert_registers, _dinov2_registers, {**DINOV2, "num_register_tokens": 4}
    ),
    "dinov3_vit": Family(STEM, keys.convert_dinov3, _dinov3, DINOV3),
    "dinov3_convnext": Family(
        "stages.0.downsample_layers.0.weight", keys.convert_dinov3_convnext, _convnext, TINY
    ),
    "convnext": Family(STEM, keys.convert_convnext, _convnext, TINY),
    "convnextv2": Family(STEM, keys.convert_convnext, _convnext_v2, TINY),
    "swin": Family(PATCHES, keys.convert_swin, _swin, SWIN),
    "clip_vision_model": Family(PATCH, keys.convert_vit, _clip, CLIP),
    "siglip_vision_model": Family(PATCH, keys.convert_vit, _siglip, SIGLIP),
}
INSIDE = {"clip": "clip_vision_model", "siglip": "siglip_vision_model"}  # models of two towers


def read_config(config: Config, source: str) -> tuple[Family, Config]:
    """The family of a configuration, and its fields with those that it leaves out; BadInput for a
    kind of model that is not known here."""
    kind = str(config.get("model_type", ""))
    if kind in INSIDE:
        kind, config = INSIDE[kind], config.get("vision_config", {})
    if kind not in FAMILIES:
        raise unknown(
            f"model_type in {source}", kind, [*FAMILIES, *INSIDE], "--backbone timm:NAME=FILE"
        )
    family = FAMILIES[kind]
    if config.get("downsample_in_bottleneck"):
        raise BadInput("config.json has a ResNet with strides in its 1x1 convolutions, as Caffe's")
    fields = {**family.defaults, **{k: v for k, v in config.items() if v is not None}}
    if "rope_parameters" in fields:
        fields["rope_theta"] = fields["rope_parameters"]["rope_theta"]
    return family, fields


def read_described(flat: Flat, config: Config, beside: Config, network: str, source: str) -> Found:
    """The backbone of a checkpoint that a config.json describes, transformers' or timm's.

    beside: preprocessor_config.json, whose mean and deviation the weights expect. network: a name
    that the user gives instead of the one that the configuration has.
    """
    if "architecture" in config:
        name, normalisation = _timm_config(config)
        return fit_timm(flat, network or name, source, normalisation)
    family, fields = read_config(config, "config.json")
    ends = (key.removesuffix(family.anchor) for key in flat if key.endswith(family.anchor))
    prefixes = [end for end in ends if not end or end.endswith(".")]
    if not prefixes:
        raise BadInput(
            f"{source} does not hold the {config.get('model_type')} that config.json describes: "
            f"it lacks {family.anchor!r}"
        )
    inside = choose_prefix(flat, prefixes, lambda p: take_below(flat, p), source)
    converted = family.convert(take_below(flat, inside))
    if family.name is None:
        found = find_backbone(converted, source, network)
    else:
        name = network or family.name(fields).text()
        found = fit_timm(converted, name, source, _normalisation(beside))
    left = Counter(place_of(key, inside) for key in flat if not key.startswith(inside))
    return replace(found, prefix=inside + found.prefix, left={**found.left, **left})


def _timm_config(config: Config) -> tuple[str, Normalisation | None]:
    """The network of a configuration of timm's hub, and its normalisation."""
    own = config.get("pretrained_cfg") or config
    model = str(config["architecture"])
    if own.get("tag") and is_tagged(f"{model}.{own['tag']}"):
        model = f"{model}.{own['tag']}"
    settings = {k: v for k, v in (config.get("model_args") or {}).items() if k not in OURS}
    name = TimmName(model, settings)
    pooling = config.get("global_pool")
    if pooling and pooling != find_pooling(name.text()):
        name = TimmName(model, {**settings, "global_pool": pooling})
    if own.get("mean") and own.get("std"):
        return name.text(), (list(own["mean"]), list(own["std"]))
    return name.text(), None


def _normalisation(beside: Config) -> Normalisation:
    """Of the pixels; transformers' default is ImageNet's."""
    mean, std = beside.get("image_mean"), beside.get("image_std")
    return list(mean or IMAGENET[0]), list(std or IMAGENET[1])
