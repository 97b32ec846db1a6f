"""MAE's settings."""

from __future__ import annotations

from typing import Literal

from pydantic import ValidationInfo, field_validator

from bench.contracts.method import PretrainParams, RateMoves
from bench.core.params import param
from bench.nn.architectures import VITS


class MaeParams(PretrainParams):
    """The recipe of He et al. 2022 (appendix A.1), which paper 000 follows for 800 epochs on
    COCO."""

    backbone: str = param("vit_b", help="vit_tiny | vit_s | vit_b")
    image_size: int = param(
        224, ge=16, help="side of a view, pixels; a multiple of the backbone's patch"
    )
    batch_size: int = param(4096, ge=2, help="images per optimiser step over all devices")
    optimizer: Literal["sgd", "lars", "adamw"] = param("adamw", help="adamw with betas .9 and .95")
    lr: float = param(
        1.5e-4,
        gt=0,
        help="learning rate of 256 images; scaled by batch_size/256",
        search=["log", 1e-5, 1e-2],
    )
    weight_decay: float = param(0.05, ge=0)
    decay_norm_and_bias: bool = param(False, help="weight decay on layer norm and biases too")
    warmup_epochs: float = param(40.0, ge=0, help="epochs of linear warm-up")
    warmup_ratio: float = param(0.0, ge=0, le=1, help="learning rate factor at step 0")
    lr_step: RateMoves = param("iter", help="whether the cosine moves every epoch or every step")
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
