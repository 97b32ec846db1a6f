"""Tensors of Hugging Face's transformers under timm's names, or torchvision's for ResNets."""

from __future__ import annotations

import re
from collections.abc import Callable

import torch
from torch import Tensor

Flat = dict[str, Tensor]
Convert = Callable[[Flat], Flat]
Rules = tuple[tuple[str, str], ...]

VIT: Rules = (
    (r"^embeddings\.(?:cls_token|class_embedding)$", "cls_token"),
    (r"^embeddings\.(?:register_tokens|distillation_token)$", "reg_token"),
    (r"^embeddings\.position_embeddings?(?:\.weight)?$", "pos_embed"),
    (r"^embeddings\.patch_embeddings?\.(?:projection\.)?", "patch_embed.proj."),
    (r"^(?:encoder\.|model\.)?layers?\.(\d+)\.", r"blocks.\1."),
    (r"\.(?:layernorm_before|layer_norm1)\.", ".norm1."),
    (r"\.(?:layernorm_after|layer_norm2)\.", ".norm2."),
    (r"\.(?:attention\.attention\.query|attention\.q_proj|self_attn\.q_proj)\.", ".attn.q."),
    (r"\.(?:attention\.attention\.key|attention\.k_proj|self_attn\.k_proj)\.", ".attn.k."),
    (r"\.(?:attention\.attention\.value|attention\.v_proj|self_attn\.v_proj)\.", ".attn.v."),
    (r"\.(?:attention\.output\.dense|attention\.o_proj|self_attn\.out_proj)\.", ".attn.proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"\.mlp\.weights_in\.", ".mlp.fc1."),
    (r"\.mlp\.weights_out\.", ".mlp.fc2."),
    (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
    (r"^(?:layernorm|post_layernorm)\.", "norm."),
    (r"^pre_layrnorm\.", "norm_pre."),
    (r"^head\.probe$", "attn_pool.latent"),
    (r"^head\.attention\.out_proj\.", "attn_pool.proj."),
    (r"^head\.layernorm\.", "attn_pool.norm."),
    (r"^head\.(mlp\.|attention\.)", r"attn_pool.\1"),
)
DINOV3: Rules = (
    *VIT,
    (r"\.ls([12])\.gamma$", r".gamma_\1"),
    (r"\.mlp\.down_proj\.", ".mlp.fc2."),
)
SWIN: Rules = (
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.norm\.", "patch_embed.norm."),
    (r"^encoder\.layers\.", "layers."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.attention\.(?:self\.query|q_proj)\.", ".attn.q."),
    (r"\.attention\.(?:self\.key|k_proj)\.", ".attn.k."),
    (r"\.attention\.(?:self\.value|v_proj)\.", ".attn.v."),
    (r"\.attention\.(?:output\.dense|o_proj)\.", ".attn.proj."),
    (
        r"\.attention\.(?:self|relative_position_bias)\.relative_position_bias_table$",
        ".attn.relative_position_bias_table",
    ),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"^layernorm\.", "norm."),
)
CONVNEXT: Rules = (
    (r"^embeddings\.patch_embeddings\.", "stem.0."),
    (r"^embeddings\.layernorm\.", "stem.1."),
    (r"^encoder\.", ""),
    (r"\.downsampling_layer\.", ".downsample."),
    (r"\.layers\.(\d+)\.", r".blocks.\1."),
    (r"\.dwconv\.", ".conv_dw."),
    (r"\.layernorm\.", ".norm."),
    (r"\.pwconv([12])\.", r".mlp.fc\1."),
    (r"\.layer_scale_parameter$", ".gamma"),
    (r"\.grn\.", ".mlp.grn."),
    (r"^layernorm\.", "head.norm."),
)
DINOV3_CONVNEXT: Rules = (
    (r"^model\.", ""),
    (r"^stages\.0\.downsample_layers\.", "stem."),
    (r"\.downsample_layers\.", ".downsample."),
    (r"\.layers\.(\d+)\.", r".blocks.\1."),
    (r"\.depthwise_conv\.", ".conv_dw."),
    (r"\.layer_norm\.", ".norm."),
    (r"\.pointwise_conv([12])\.", r".mlp.fc\1."),
    (r"^layer_norm\.", "head.norm."),
)
RESNET: Rules = (
    (r"^embedder\.embedder\.convolution\.", "conv1."),
    (r"^embedder\.embedder\.normalization\.", "bn1."),
    (r"^encoder\.stages\.0\.layers\.", "layer1."),
    (r"^encoder\.stages\.1\.layers\.", "layer2."),
    (r"^encoder\.stages\.2\.layers\.", "layer3."),
    (r"^encoder\.stages\.3\.layers\.", "layer4."),
    (r"\.shortcut\.convolution\.", ".downsample.0."),
    (r"\.shortcut\.normalization\.", ".downsample.1."),
    (r"\.layer\.0\.convolution\.", ".conv1."),
    (r"\.layer\.1\.convolution\.", ".conv2."),
    (r"\.layer\.2\.convolution\.", ".conv3."),
    (r"\.layer\.0\.normalization\.", ".bn1."),
    (r"\.layer\.1\.normalization\.", ".bn2."),
    (r"\.layer\.2\.normalization\.", ".bn3."),
)
UNUSED = re.compile(r"embeddings\.(mask_token|position_ids)|pooler\..*|decoder\..*|classifier\..*")


def rename(flat: Flat, rules: Rules) -> Flat:
    """Each tensor under its new name; what only a pretraining or a classifier uses is left out."""
    renamed = {}
    for key, value in flat.items():
        if UNUSED.fullmatch(key):
            continue
        for pattern, new in rules:
            key = re.sub(pattern, new, key)
        renamed[key] = value
    return renamed


def fuse_attention(state: Flat) -> Flat:
    """q, k and v of each block as timm's one matrix `qkv`, in this order."""
    fused = dict(state)
    for key in state:
        start, found, leaf = key.partition(".attn.q.")
        if found:
            parts = [fused.pop(f"{start}.attn.{n}.{leaf}") for n in "qkv"]
            fused[f"{start}.attn.qkv.{leaf}"] = torch.cat(parts)
    return fused


def convert_vit(flat: Flat, rules: Rules = VIT) -> Flat:
    """A ViT, DeiT (whose distillation token is a register with a position), MAE, DINOv2, CLIP or
    SigLIP."""
    state = fuse_attention(rename(flat, rules))
    for key in ("cls_token", "pos_embed"):
        if key in state:
            state[key] = state[key].reshape(1, -1, state[key].shape[-1])
    return _convert_attention_pool(_join_gate(state))


def _convert_attention_pool(state: Flat) -> Flat:
    """SigLIP's pooling, whose q, k and v lie in one matrix of PyTorch's attention."""
    for leaf in ("weight", "bias"):
        whole = state.pop(f"attn_pool.attention.in_proj_{leaf}", None)
        if whole is not None:
            third = len(whole) // 3
            state[f"attn_pool.q.{leaf}"] = whole[:third]
            state[f"attn_pool.kv.{leaf}"] = whole[third:]
    return state


def _join_gate(state: Flat) -> Flat:
    """The two halves of a SwiGLU that transformers may hold apart, and its last layer."""
    joined = {re.sub(r"\.mlp\.down_proj\.", ".mlp.fc2.", k): v for k, v in state.items()}
    for key in list(joined):
        start, found, leaf = key.partition(".mlp.gate_proj.")
        if found:
            parts = [joined.pop(key), joined.pop(f"{start}.mlp.up_proj.{leaf}")]
            joined[f"{start}.mlp.fc1.{leaf}"] = torch.cat(parts)
    return joined


def convert_registers(flat: Flat) -> Flat:
    """A DINOv2 with registers: timm adds positions to patches alone, so that the class token
    takes its own with it."""
    state = convert_vit(flat)
    places = state["pos_embed"]
    state["cls_token"] = state["cls_token"] + places[:, :1]
    state["pos_embed"] = places[:, 1:]
    return state


def convert_dinov3(flat: Flat) -> Flat:
    """A DINOv3 ViT, where keys have no bias."""
    state = rename(flat, DINOV3)
    gated = any(".mlp.gate_proj." in key for key in state)
    new = ".mlp.fc1_x." if gated else ".mlp.fc1."
    state = {
        k.replace(".mlp.up_proj.", new).replace(".mlp.gate_proj.", ".mlp.fc1_g."): v
        for k, v in state.items()
    }
    for key in list(state):
        bias = re.fullmatch(r"(.*\.attn\.)([qv])\.bias", key)
        if bias:
            state[f"{bias[1]}{bias[2]}_bias"] = state.pop(key)
    return fuse_attention(state)


def convert_swin(flat: Flat) -> Flat:
    """A Swin; transformers halves the map at the end of a stage, timm at the start of the next."""
    state = fuse_attention(rename(flat, SWIN))
    return {
        re.sub(r"^layers\.(\d+)\.downsample", lambda m: f"layers.{int(m[1]) + 1}.downsample", k): v
        for k, v in state.items()
    }


def convert_convnext(flat: Flat) -> Flat:
    """A ConvNeXt or ConvNeXt V2."""
    state = rename(flat, CONVNEXT)
    return {k: v.flatten() if ".mlp.grn." in k else v for k, v in state.items()}


def convert_dinov3_convnext(flat: Flat) -> Flat:
    """A ConvNeXt of DINOv3."""
    return rename(flat, DINOV3_CONVNEXT)


def convert_resnet(flat: Flat) -> Flat:
    """A ResNet, under torchvision's names."""
    return rename(flat, RESNET)
