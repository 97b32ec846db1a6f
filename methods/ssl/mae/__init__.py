"""MAE: reconstruct the pixels of three quarters of the patches from the others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bench.contracts.method import Method
from bench.contracts.views import Viewer
from methods.ssl.mae.params import MaeParams
from methods.ssl.mae.views import OneView

if TYPE_CHECKING:
    from bench.contracts.crop import Crop
    from bench.contracts.images import ImageSet
    from bench.contracts.network import Network


class Mae(Method):
    """Masked autoencoder (He et al. 2022), as paper 000 pretrains ViT-B on COCO and on Our-Crop.

    L = sum over masked patches of mean_pixel (pred - target)^2 / number of masked patches. 75 % of
    the patches are removed per sample by argsort of noise; the encoder sees the others and a class
    token, the decoder (512 wide, 8 blocks) also mask tokens; both have fixed 2-D sin-cos
    positions. Defaults: AdamW, rate 1.5e-4 x 4096/256, weight decay .05, 800 epochs, 40 of
    warm-up, cosine per iteration. Paper 000 Table 5: COCO box AP 38.0 on whole images, 43.2 on
    Our-Crop (Mask R-CNN with ViTDet).
    """

    Params = MaeParams
    params: MaeParams
    separable = True
    scales = {
        "tiny": {
            "backbone": "vit_tiny",
            "image_size": 48,
            "epochs": 100,
            "batch_size": 64,
            "lr": 0.003,
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
        from methods.ssl.mae.network import MaeNetwork

        return MaeNetwork(self.params)
