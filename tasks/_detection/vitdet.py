"""ViTDet: a plain vision transformer with windowed attention, a simple feature pyramid, R-CNN
heads."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.convnext import LayerNorm2d
from torchvision.ops import stochastic_depth

from bench.nn.backbones import build_backbone
from bench.nn.vit import VisionTransformer
from tasks._detection.fpn import FpnRcnn
from tasks._detection.settings import VitDetSettings

NORM: Any = partial(LayerNorm2d, eps=1e-6)


class RelativePositions(nn.Module):
    """A learned bias of attention by the offset along each axis, zero at the start: q . r[i - j],
    rows plus columns (Li et al. 2022, section 3, as in MViTv2). For grids of up to `side` tokens;
    larger: resampled."""

    def __init__(self, side: int, dim: int) -> None:
        super().__init__()
        self.rows, self.columns = (nn.Parameter(torch.zeros(2 * side - 1, dim)) for _ in range(2))

    @staticmethod
    def table(offsets: Tensor, size: int) -> Tensor:
        """(size, size, dim): the vector of the offset i - j."""
        if len(offsets) < 2 * size - 1:
            offsets = F.interpolate(offsets.T[None], size=2 * size - 1, mode="linear")[0].T
        at = torch.arange(size, device=offsets.device)
        return offsets[at[:, None] - at + len(offsets) // 2]

    def forward(self, q: Tensor, height: int, width: int) -> Tensor:
        """q (B, heads, height x width, dim) -> (B, heads, N, N) to add to the logits."""
        grid = q.unflatten(2, (height, width))
        rows = torch.einsum("bnhwc,hkc->bnhwk", grid, self.table(self.rows, height))
        columns = torch.einsum("bnhwc,wkc->bnhwk", grid, self.table(self.columns, width))
        both = rows[..., :, None] + columns[..., None, :]
        return both.flatten(4, 5).flatten(2, 3)


def attend(attention: Any, positions: nn.Module, x: Tensor) -> Tensor:
    """(B, h, w, C) -> the same: timm's attention over all tokens, with the positions' bias."""
    b, h, w, c = x.shape
    q, k, v = (
        attention.qkv(x)
        .reshape(b, h * w, 3, attention.num_heads, -1)
        .permute(2, 0, 3, 1, 4)
        .unbind(0)
    )
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=positions(q, h, w))
    return attention.proj(out.transpose(1, 2).reshape(b, h, w, c))  # type: ignore[no-any-return]


def into_windows(x: Tensor, side: int) -> Tensor:
    """(B, H, W, C) -> (B x windows, side, side, C), padded with zeros at the right and bottom."""
    _, h, w, c = x.shape
    x = F.pad(x, (0, 0, 0, -w % side, 0, -h % side))
    x = x.unflatten(1, (-1, side)).unflatten(3, (-1, side))
    return x.transpose(2, 3).reshape(-1, side, side, c)


def from_windows(windows: Tensor, shape: torch.Size) -> Tensor:
    """The inverse of `into_windows` for an x of that shape."""
    b, h, w, c = shape
    side = windows.shape[1]
    rows, columns = -(-h // side), -(-w // side)
    x = windows.reshape(b, rows, columns, side, side, c).transpose(2, 3)
    return x.reshape(b, rows * side, columns * side, c)[:, :h, :w]


class SimplePyramid(nn.Module):
    """One map of stride s -> maps of strides s/4, s/2, s, 2s and 4s: deconvolutions, max pooling,
    then a 1x1 and a 3x3 convolution each (Li et al. 2022, section 3)."""

    def __init__(self, dim: int, channels: int) -> None:
        super().__init__()
        up: Any = partial(nn.ConvTranspose2d, kernel_size=2, stride=2)
        first = [
            nn.Sequential(up(dim, dim // 2), NORM(dim // 2), nn.GELU(), up(dim // 2, dim // 4)),
            up(dim, dim // 2),
            nn.Identity(),
            nn.MaxPool2d(2),
        ]
        self.stages = nn.ModuleList(
            nn.Sequential(
                stage,
                nn.Conv2d(width, channels, 1, bias=False),
                NORM(channels),
                nn.Conv2d(channels, channels, 3, padding=1, bias=False),
                NORM(channels),
            )
            for stage, width in zip(first, (dim // 4, dim // 2, dim, dim), strict=True)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = [stage(x) for stage in self.stages]
        return [*maps, F.max_pool2d(maps[-1], 1, 2)]


class VitRcnn(FpnRcnn):
    """Mask R-CNN on ViTDet's pyramid: attention in windows except in a few evenly spaced blocks,
    relative positions, stochastic depth, layer norm in pyramid and heads. The class token and the
    backbone's last norm are not used, as in ViTDet."""

    norm = NORM
    body: VisionTransformer
    p: VitDetSettings

    def _build_pyramid(self, backbone: str) -> None:
        body = build_backbone(backbone)
        assert isinstance(body, VisionTransformer)
        self.body = body
        self.body.pos_embed.requires_grad_(True)
        self.strides = tuple(int(self.body.patch * s) for s in (0.25, 0.5, 1, 2, 4))
        step = self.body.patch * 2
        # to one square, so that positions mean the same
        self.divisor = -(-max(self.p.sizes) // step) * step
        first: Any = body.blocks[0]
        depth, heads = len(body.blocks), first.attn.num_heads
        every = max(depth // self.p.global_blocks, 1)
        self.windows = [0 if i % every == every - 1 else self.p.window for i in range(depth)]
        whole = max(self.p.sizes) // self.body.patch
        self.positions = nn.ModuleList(
            RelativePositions(window or whole, body.feature_dim // heads)
            for window in self.windows
        )
        self.fpn = SimplePyramid(self.body.feature_dim, self.p.fpn)

    def depth_of(self, name: str) -> int:
        """How many blocks a parameter is below the top: 0 outside the body, 1 its last block, ...,
        blocks + 1 the embeddings."""
        block = re.match(r"(?:body\.blocks|positions)\.(\d+)\.", name)
        if block:
            return len(self.windows) - int(block[1])
        return len(self.windows) + 1 if "patch_embed" in name or "pos_embed" in name else 0

    def features(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> five maps, strides p/4 to 4p for patches of p pixels."""
        height, width = (side // self.body.patch for side in images.shape[-2:])
        x = self.body.tokens(images).unflatten(1, (height, width))
        rates = torch.linspace(0, self.p.drop_path, len(self.windows)).tolist()
        blocks: list[Any] = list(self.body.blocks)
        for block, positions, window, rate in zip(
            blocks, self.positions, self.windows, rates, strict=True
        ):
            y = block.norm1(x)
            if window:
                y = from_windows(attend(block.attn, positions, into_windows(y, window)), y.shape)
            else:
                y = attend(block.attn, positions, y)
            x = x + stochastic_depth(y, rate, "row", self.training)
            x = x + stochastic_depth(block.mlp(block.norm2(x)), rate, "row", self.training)
        return self.fpn(x.permute(0, 3, 1, 2).contiguous())  # type: ignore[no-any-return]
