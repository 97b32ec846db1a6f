"""Vision transformers from timm's blocks, under timm's key names,
so that public MAE weights load."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bench.core.errors import BadInput
from bench.nn.architectures import VITS


def sincos_2d(dim: int, height: int, width: int) -> Tensor:
    """The fixed position embedding of a grid: (height * width, dim) float32, rows first; dim % 4
    == 0.

    With w_k = 10000^(-k / (dim/4)), k < dim/4, the patch in row y and column x has
    [sin(x w), cos(x w), sin(y w), cos(y w)]. Source: MoCo v3 and MAE (He et al. 2022, appendix A),
    whose code puts the column first.
    """
    if dim % 4:
        raise BadInput(f"a 2-D sin-cos embedding needs a width that is a multiple of 4, got {dim}")
    omega = 10000.0 ** (-torch.arange(dim // 4, dtype=torch.float64) / (dim // 4))
    rows = torch.arange(height, dtype=torch.float64).repeat_interleave(width)[:, None] * omega
    columns = torch.arange(width, dtype=torch.float64).repeat(height)[:, None] * omega
    return torch.cat([columns.sin(), columns.cos(), rows.sin(), rows.cos()], 1).float()


def blocks(dim: int, depth: int, heads: int) -> nn.Sequential:
    """`depth` pre-norm transformer blocks, MLP ratio 4, biases in q, k, v, layer norm eps 1e-6."""
    from timm.models.vision_transformer import Block

    norm: Any = partial(nn.LayerNorm, eps=1e-6)
    return nn.Sequential(
        *(Block(dim, heads, qkv_bias=True, norm_layer=norm) for _ in range(depth))
    )


def init_like_mae(module: nn.Module) -> None:
    """Linear layers Xavier uniform with zero bias,
    as the official JAX ViT and MAE (appendix A)."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class VisionTransformer(nn.Module):
    """ViT (Dosovitskiy et al. 2021) with a class token and a fixed 2-D sin-cos position embedding.

    `forward`: (B, 3, H, W) -> (B, D), the mean of the patch tokens after the last norm, which is
    the spatial mean of `maps` as for a ResNet (MAE reports class token and mean as equal). `maps`:
    -> (B, D, H/p, W/p), those tokens in their places. H and W must be multiples of the patch p =
    `patch`, else BadInput.

    The embedding is made for square images of the shape's `side`; for other sizes it is resampled
    (bicubic, antialiased), in training too, so that the state dict does not depend on the image
    size. The state dict is timm's `vision_transformer` less `head.*`.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        from timm.layers import PatchEmbed

        shape = VITS[name]
        self.feature_dim, self.patch = shape.dim, shape.patch
        self.grid = shape.side // shape.patch
        self.patch_embed = PatchEmbed(None, shape.patch, 3, shape.dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, shape.dim))
        places = torch.cat([torch.zeros(1, shape.dim), sincos_2d(shape.dim, self.grid, self.grid)])
        self.pos_embed = nn.Parameter(places[None], requires_grad=False)
        self.blocks = blocks(shape.dim, shape.depth, shape.heads)
        self.norm = nn.LayerNorm(shape.dim, eps=1e-6)
        init_like_mae(self.blocks)
        # as a linear layer
        nn.init.xavier_uniform_(self.patch_embed.proj.weight.view(shape.dim, -1))
        nn.init.normal_(self.cls_token, std=0.02)

    def _grid(self, images: Tensor) -> tuple[int, int]:
        height, width = images.shape[-2:]
        if height % self.patch or width % self.patch:
            raise BadInput(
                f"a vision transformer with {self.patch}-pixel patches needs image sides that are "
                f"multiples of {self.patch}, got {width} x {height}"
            )
        return height // self.patch, width // self.patch

    def tokens(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, N, D): embedded patches plus their positions,
        rows first, no class token."""
        from timm.layers import resample_abs_pos_embed

        grid, places = self._grid(images), self.pos_embed
        if grid != (self.grid, self.grid):
            places = resample_abs_pos_embed(places, list(grid), num_prefix_tokens=1)
        return self.patch_embed(images) + places[:, 1:]  # type: ignore[no-any-return]

    def encode(self, tokens: Tensor) -> Tensor:
        """(B, n, D) tokens, any subset -> (B, 1 + n, D)
        after blocks and norm, the class token first."""
        first = (self.cls_token + self.pos_embed[:, :1]).expand(len(tokens), -1, -1)
        return self.norm(self.blocks(torch.cat([first, tokens], 1)))  # type: ignore[no-any-return]

    def maps(self, images: Tensor) -> Tensor:
        """The patch tokens after the last norm, in their places."""
        height, width = self._grid(images)
        tokens = self.encode(self.tokens(images))[:, 1:]
        return tokens.transpose(1, 2).reshape(len(images), self.feature_dim, height, width)

    def forward(self, images: Tensor) -> Tensor:
        return self.encode(self.tokens(images))[:, 1:].mean(1)
