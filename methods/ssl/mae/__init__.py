"""MAE: reconstruct the pixels of three quarters of the patches from the others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from pydantic import ValidationInfo, field_validator
from torch import Tensor, nn

from bench.contracts.method import Method, PretrainParams
from bench.contracts.network import Batch, Network
from bench.contracts.views import Augment, Sample, Source, Viewer, ViewSpec
from bench.core.params import param
from bench.nn.architectures import VITS
from bench.nn.byol import output_std
from bench.nn.distributed import draw_rows

if TYPE_CHECKING:
    from bench.contracts.crop import Crop
    from bench.contracts.images import ImageSet


class MaeParams(PretrainParams):
    """The recipe of He et al. 2022 (appendix A.1), which paper 000 follows for 800 epochs on COCO."""

    backbone: str = param("vit_b", help="vit_tiny | vit_s | vit_b")
    image_size: int = param(
        224, ge=16, help="side of a view, pixels; a multiple of the backbone's patch"
    )
    batch_size: int = param(4096, ge=2, help="images per optimiser step over all devices")
    optimizer: Literal["sgd", "lars", "adamw"] = param("adamw", help="adamw with betas .9 and .95")
    lr: float = param(
        1.5e-4, gt=0, help="for 256 images; x batch_size/256", search=["log", 1e-5, 1e-2]
    )
    weight_decay: float = param(0.05, ge=0)
    decay_norm_and_bias: bool = param(False, help="weight decay on layer norm and biases too")
    warmup_epochs: float = param(40.0, ge=0, help="epochs of linear warm-up")
    warmup_ratio: float = param(0.0, ge=0, le=1, help="learning rate factor at step 0")
    lr_step: Literal["epoch", "iter"] = param("iter", help="when the cosine moves")
    mask_ratio: float = param(
        0.75, gt=0, lt=1, help="share of patches that are removed", search=[0.5, 0.75]
    )
    norm_pix: bool = param(
        True, help="targets normalised per patch (recommended); off: the code's default"
    )
    decoder_dim: int = param(512, ge=4, multiple_of=4, help="width of the decoder")
    decoder_depth: int = param(8, ge=1, help="blocks of the decoder")
    decoder_heads: int = param(16, ge=1, help="attention heads of the decoder; divides its width")
    min_scale: float = param(0.2, gt=0, le=1, help="least area of a view, fraction of its source")

    @field_validator("backbone")
    @classmethod
    def _is_a_vit(cls, name: str) -> str:
        if name not in VITS:
            raise ValueError(f"MAE masks the patches of a vision transformer: {' | '.join(VITS)}")
        return name

    @field_validator("image_size")
    @classmethod
    def _whole_patches(cls, size: int, info: ValidationInfo) -> int:
        shape = VITS.get(info.data.get("backbone", ""))
        if shape and (size % shape.patch or size < 2 * shape.patch):
            raise ValueError(
                f"must be a multiple of the backbone's patch, {shape.patch} pixels, and two at "
                "least"
            )
        return size

    @field_validator("decoder_heads")
    @classmethod
    def _heads_divide(cls, heads: int, info: ValidationInfo) -> int:
        if info.data.get("decoder_dim", heads) % heads:
            raise ValueError(f"must divide decoder_dim {info.data['decoder_dim']}")
        return heads


@dataclass(frozen=True)
class OneView:
    """A bicubic random resized crop of the first source and a flip, nothing else. Its scale wins."""

    size: int
    scale: tuple[float, float]

    def __call__(self, sources: list[Source], rng: np.random.Generator) -> Sample:
        s = sources[0]
        view = ViewSpec(
            "view1",
            s.image,
            s.box,
            self.size,
            Augment(),
            s.scale or self.scale,
            interpolation="bicubic",
            kind=s.kind,
        )
        return Sample([view])


def patchify(images: Tensor, patch: int) -> Tensor:
    """(B, C, H, W) -> (B, N, p*p*C): patches in rows, each pixel by pixel in rows, channels last."""
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

    def __init__(self, params: MaeParams) -> None:
        super().__init__()
        from bench.nn.vit import VisionTransformer, blocks, init_like_mae, sincos_2d

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
        """(B, 3, S, S) and `random_mask`'s result -> (B, N, p*p*3), from the kept patches alone."""
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


class Mae(Method):
    """Masked autoencoder (He et al. 2022), as paper 000 pretrains ViT-B on COCO and on Our-Crop.

    L = sum over masked patches of mean_pixel (pred - target)^2 / number of masked patches. 75 % of
    the patches are removed per sample by argsort of noise; the encoder sees the others and a class
    token, the decoder (512 wide, 8 blocks) also mask tokens; both have fixed 2-D sin-cos
    positions. Defaults: AdamW, rate 1.5e-4 x 4096/256, weight decay .05, 800 epochs, 40 of
    warm-up, cosine per iteration. Paper 000
    Table 5: COCO box AP 38.0 on whole images, 43.2 on Our-Crop (Mask R-CNN with ViTDet).
    """

    Params = MaeParams
    params: MaeParams
    separable = True
    scales = {
        "tiny": {
            "backbone": "vit_tiny",
            "image_size": 64,
            "epochs": 20,
            "batch_size": 32,
            "lr": 0.008,
            "warmup_epochs": 2.0,
            "decoder_dim": 96,
            "decoder_depth": 1,
            "decoder_heads": 3,
        },
        "small": {
            "backbone": "vit_s",
            "image_size": 128,
            "epochs": 400,
            "batch_size": 256,
            "lr": 6e-4,
            "decoder_dim": 192,
            "decoder_depth": 4,
            "decoder_heads": 6,
            "precision": "bf16",
        },
    }

    def supports(self, crop: type[Crop]) -> str | None:
        if crop.style in ("image", "pseudo"):
            return None
        return (
            "MAE reconstructs one view from itself, so a sample's further views would be ignored"
        )

    def viewer(self, images: ImageSet, inputs: dict[str, Path]) -> Viewer:
        return OneView(self.params.image_size, (self.params.min_scale, 1.0))

    def network(self, n_images: int, heads: int = 1) -> Network:
        return MaeNetwork(self.params)
