"""MAE's networks, masks and loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bench.contracts.network import Batch, Network
from bench.nn.byol import output_std
from bench.nn.distributed import draw_rows
from bench.nn.vit import VisionTransformer, blocks, init_like_mae, sincos_2d
from methods.ssl.mae.params import MaeParams


def patchify(images: Tensor, patch: int) -> Tensor:
    """(B, C, H, W) -> (B, N, p*p*C): patches row by row, each pixel by pixel, channels last."""
    b, c, height, width = images.shape
    cells = images.reshape(b, c, height // patch, patch, width // patch, patch)
    return cells.permute(0, 2, 4, 3, 5, 1).reshape(b, -1, patch * patch * c)


def unpatchify(patches: Tensor, patch: int, height: int, width: int) -> Tensor:
    """The inverse of `patchify` for images of height x width."""
    b, c = len(patches), patches.shape[-1] // (patch * patch)
    cells = patches.reshape(b, height // patch, width // patch, patch, patch, c)
    return cells.permute(0, 5, 1, 3, 2, 4).reshape(b, c, height, width)


def random_mask(
    batch: int, count: int, ratio: float, device: torch.device, part: int = 0, parts: int = 1
) -> tuple[Tensor, Tensor]:
    """(kept, places) int64: `kept` (B, n) are the patches each sample keeps, n = floor(count (1 -
    ratio)) but at least 1, the first of an argsort of uniform noise; `places` (B, count) is that
    sort's inverse, so that patch i is kept exactly where places[i] < n. `part` of `parts`: as
    `draw_rows` has it."""
    noise = draw_rows(lambda rows: torch.rand(rows, count, device=device), batch, part, parts)
    order = noise.argsort(1)
    return order[:, : max(1, int(count * (1 - ratio)))], order.argsort(1)


def pixel_targets(images: Tensor, patch: int, norm_pix: bool) -> Tensor:
    """(B, N, p*p*3) float32: the patches, normalised each by its mean and sqrt(unbiased variance +
    1e-6)."""
    patches = patchify(images.float(), patch)
    if not norm_pix:
        return patches
    variance, mean = torch.var_mean(patches, -1, keepdim=True)
    return (patches - mean) / (variance + 1e-6).sqrt()


def mae_loss(predicted: Tensor, target: Tensor, masked: Tensor) -> Tensor:
    """Mean over masked patches of the mean squared error of their pixels (He et al. 2022, section
    3).

    predicted, target: (B, N, p*p*3). masked: (B, N), 1 where the patch was removed, else 0.
    """
    per_patch = (predicted.float() - target).pow(2).mean(-1)
    return (per_patch * masked).sum() / masked.sum()


class MaeNetwork(Network):
    """The ViT sees the kept patches; a narrow decoder sees them and mask tokens and predicts all
    pixels."""

    decoder_pos_embed: Tensor

    def __init__(self, params: MaeParams) -> None:
        super().__init__()
        p = self.params = params
        self.backbone: VisionTransformer = VisionTransformer(p.backbone)
        self.patch, side = self.backbone.patch, p.image_size // self.backbone.patch
        self.decoder_embed = nn.Linear(self.backbone.feature_dim, p.decoder_dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, p.decoder_dim))
        places = torch.cat([torch.zeros(1, p.decoder_dim), sincos_2d(p.decoder_dim, side, side)])
        self.register_buffer("decoder_pos_embed", places[None], persistent=False)
        self.decoder_blocks = blocks(p.decoder_dim, p.decoder_depth, p.decoder_heads)
        self.decoder_norm = nn.LayerNorm(p.decoder_dim, eps=1e-6)
        self.decoder_pred = nn.Linear(p.decoder_dim, self.patch**2 * 3)
        for part in (self.decoder_embed, self.decoder_blocks, self.decoder_pred):
            init_like_mae(part)
        nn.init.normal_(self.mask_token, std=0.02)

    def predict(self, images: Tensor, kept: Tensor, places: Tensor) -> Tensor:
        """(B, 3, S, S) and the result of `random_mask` -> (B, N, p*p*3), from the kept patches
        alone."""
        return self.decode(self.see(images, kept), places)

    def see(self, images: Tensor, kept: Tensor) -> Tensor:
        """(B, 1 + n, D): the encoder's class token and kept patches (B, n)."""
        tokens = self.backbone.tokens(images)
        return self.backbone.encode(tokens.gather(1, _wide(kept, tokens)))

    def decode(self, seen: Tensor, places: Tensor) -> Tensor:
        """(B, 1 + n, D) and `places` (B, N) -> (B, N, p*p*3)."""
        seen = self.decoder_embed(seen)
        missing = self.mask_token.to(seen.dtype).expand(
            len(seen), places.shape[1] - seen.shape[1] + 1, -1
        )
        shuffled = torch.cat([seen[:, 1:], missing], 1)
        every = torch.cat([seen[:, :1], shuffled.gather(1, _wide(places, shuffled))], 1)
        out = self.decoder_norm(self.decoder_blocks(every + self.decoder_pos_embed))
        return self.decoder_pred(out)[:, 1:]  # type: ignore[no-any-return]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """`mae_loss` under a new random mask; about 1 for normalised targets where the mean is
        predicted."""
        images = batch.views["view1"].images
        count = (images.shape[-1] // self.patch) ** 2
        kept, places = random_mask(
            len(images), count, self.params.mask_ratio, images.device, batch.part, batch.parts
        )
        target = pixel_targets(images, self.patch, self.params.norm_pix)
        seen = self.see(images, kept)
        loss = mae_loss(self.decode(seen, places), target, (places >= kept.shape[1]).float())
        return {"loss": loss, "std": output_std(seen[:, 1:].mean(1))}

    def embed(self, images: Tensor) -> Tensor:
        """The mean patch token of the whole image, nothing masked."""
        return self.backbone(images)  # type: ignore[no-any-return]


def _wide(index: Tensor, like: Tensor) -> Tensor:
    return index.unsqueeze(-1).expand(-1, -1, like.shape[-1])
