"""CMC: tell an image's lightness by its colours among other images', and its colours by its
lightness."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from pydantic import field_validator
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contracts.method import Method, PretrainParams
from bench.contracts.network import Batch, Network
from bench.contracts.views import Augment, Sample, Source, Viewer, ViewSpec
from bench.core.errors import BadInput
from bench.core.params import param
from bench.nn.architectures import architecture
from bench.nn.byol import output_std
from bench.nn.contrastive import at_least_float32
from bench.nn.distributed import draw_rows, gather_rows

if TYPE_CHECKING:
    from bench.contracts.crop import Crop
    from bench.contracts.images import ImageSet
    from bench.nn.lab import LabResNet


class CmcParams(PretrainParams):
    """CMC's published code, with 200 epochs as paper 001 trains it (appendix G.1)."""

    backbone: str = param(
        "lab_resnet50", help="lab_resnet18 | lab_resnet34 | lab_resnet50 | lab_resnet101"
    )
    epochs: int = param(200, ge=1, help="passes over the crop's samples", search=["int", 1, 800])
    batch_size: int = param(128, ge=2, help="images per optimiser step over all devices")
    lr: float = param(
        0.06, gt=0, help="for 256 images; x batch_size/256: .03 for 128", search=["log", 1e-3, 1.0]
    )
    warmup_epochs: float = param(0.0, ge=0, help="epochs of linear warm-up")
    dim: int = param(128, ge=1, help="width of both embeddings")
    negatives: int = param(
        16384, ge=1, help="K, negatives of a sample; at most half of the images"
    )
    tau: float = param(0.07, gt=0, help="temperature", search=["log", 0.03, 0.5])
    bank_momentum: float = param(
        0.5, ge=0, lt=1, help="share of the old row in a memory bank's update"
    )
    partition: Literal["first_batch", "average", "softmax"] = param(
        "first_batch",
        help="the NCE constant Z: estimated once (the code), as a moving average of momentum "
        ".99, or none: softmax over positive and negatives, for small sets, where Z explodes",
    )
    min_scale: float = param(0.2, gt=0, le=1, help="least area of a view, fraction of the image")

    @field_validator("backbone")
    @classmethod
    def _is_split(cls, name: str) -> str:
        try:
            fits = architecture(name).family == "lab"
        except BadInput:
            fits = False
        if not fits:
            raise ValueError(
                "CMC needs two encoders, one for L and one for ab: lab_resnet18, lab_resnet50"
            )
        return name


@dataclass(frozen=True)
class OneView:
    """A random resized crop of the first source and a flip; its colours are left alone. Its scale
    wins."""

    size: int
    scale: tuple[float, float]

    def __call__(self, sources: list[Source], rng: np.random.Generator) -> Sample:
        s = sources[0]
        return Sample(
            [ViewSpec("view1", s.image, s.box, self.size, Augment(), s.scale or self.scale)]
        )


def nce_loss(scores: Tensor, z: Tensor, n: int) -> Tensor:
    """L = -mean_b [log h_b0 + sum_k log(1 - h_bk)], h = P / (P + K/n), P = exp(score) / Z.

    scores: (B, 1 + K), the similarity / tau of the positive and of K negatives drawn uniformly
    from n images.
    Source: Tian et al. 2020, equation 12 (Gutmann and Hyvarinen 2010), in logs: log h = log
    sigmoid(a), a = score - log Z - log(K/n); the code adds 1e-7 to the denominator.
    """
    odds = scores.float() - z.log() - math.log((scores.shape[1] - 1) / n)
    signs = torch.ones_like(odds[0]).neg()
    signs[0] = 1
    return -F.logsigmoid(odds * signs).sum(1).mean()


def estimate_z(scores: Tensor, n: int) -> Tensor:
    """Z = n x mean exp(score) over a batch's positives and negatives, without gradient."""
    return scores.detach().float().exp().mean() * n


class CmcNetwork(Network):
    """Two encoders with a linear head each, and a memory bank of unit vectors (n_images, dim) per
    encoder."""

    bank_l: Tensor
    bank_ab: Tensor
    z: Tensor

    def __init__(self, params: CmcParams, n_images: int) -> None:
        super().__init__()
        # torchvision takes a second; plans need none
        from bench.nn.backbones import build_backbone

        self.params, self.n = params, n_images
        self.negatives = max(1, min(params.negatives, n_images // 2))
        self.backbone: LabResNet = build_backbone(params.backbone)  # type: ignore[assignment]
        self.head_l = nn.Linear(self.backbone.feature_dim // 2, params.dim)
        self.head_ab = nn.Linear(self.backbone.feature_dim // 2, params.dim)
        bound = math.sqrt(3 / params.dim)  # unit length on average
        for name in ("bank_l", "bank_ab"):
            self.register_buffer(name, torch.empty(n_images, params.dim).uniform_(-bound, bound))
        # of L's and of ab's scores; 0: not yet estimated
        self.register_buffer("z", torch.zeros(2))
        self.pending: tuple[Tensor, Tensor, Tensor] | None = None

    def project(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) -> unit vectors of L and of ab, each (B, dim), float32 under autocast too."""
        light, colour = self.backbone.split(images)
        embedded = [at_least_float32(x) for x in (self.head_l(light), self.head_ab(colour))]
        return F.normalize(embedded[0], dim=1), F.normalize(embedded[1], dim=1)

    def _partition(self, scores: Tensor, which: int) -> Tensor:
        """Z of this step's scores; sets or moves the buffer."""
        now = gather_rows(estimate_z(scores, self.n)[None]).mean()
        with torch.no_grad():
            if self.params.partition == "average":
                self.z[which] = torch.where(
                    self.z[which] > 0, 0.99 * self.z[which] + 0.01 * now, now
                )
            else:
                self.z[which] = torch.where(self.z[which] > 0, self.z[which], now)
        return self.z[which].clone()

    def _contrast(self, queries: Tensor, bank: Tensor, chosen: Tensor, which: int) -> Tensor:
        # All scores, then a choice: the rows of B x (K + 1) choices would take gigabytes.
        with torch.autocast(queries.device.type, enabled=False):
            scores = (queries @ bank.T).gather(1, chosen) / self.params.tau
        if self.params.partition == "softmax":
            return F.cross_entropy(
                scores, torch.zeros(len(scores), dtype=torch.int64, device=scores.device)
            )
        return nce_loss(scores, self._partition(scores, which), self.n)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """L against the bank of ab ("l"), plus ab against the bank of L ("ab"), with the same
        negatives."""
        view = batch.views["view1"]
        light, colour = self.project(view.images)
        negatives = draw_rows(
            lambda rows: torch.randint(self.n, (rows, self.negatives), device=light.device),
            len(light),
        )
        chosen = torch.cat([view.index[:, None], negatives], 1)
        parts = {
            "l": self._contrast(light, self.bank_ab, chosen, 0),
            "ab": self._contrast(colour, self.bank_l, chosen, 1),
        }
        self.pending = (
            gather_rows(view.index),
            gather_rows(light.detach()),
            gather_rows(colour.detach()),
        )
        return {
            "loss": parts["l"] + parts["ab"],
            **parts,
            "std": output_std(torch.cat([light, colour], 1)),
        }

    @torch.no_grad()
    def after_step(self, step: int, total_steps: int) -> None:
        """Move the batch's rows: normalise(m row + (1 - m) embedding)."""
        assert self.pending is not None
        index, *embedded = self.pending
        self.pending = None
        m = self.params.bank_momentum
        for bank, new in zip((self.bank_l, self.bank_ab), embedded, strict=True):
            bank[index] = F.normalize(m * bank[index] + (1 - m) * new, dim=1)

    def embed(self, images: Tensor) -> Tensor:
        """Both unit vectors, (B, 2 dim)."""
        return torch.cat(self.project(images), 1)


class Cmc(Method):
    """Contrastive Multiview Coding on L and ab (Tian et al. 2020), the CMC row of paper 001's
    Table 1.

    Each image is split into lightness and colours; two half-width ResNets embed them, and each
    embedding must find its image in the other's memory bank: L = L_nce(L, bank of ab) + L_nce(ab,
    bank of L). Bank rows move by momentum .5 and are normalised. K = 16384 negatives (at most half
    of the set), tau .07. The NCE constant Z is fixed by the first batch as in the code;
    `partition` has the alternatives. SGD .03 for 128 images, weight decay 1e-4; ours: cosine
    instead of steps. The evaluated backbone is both encoders, their features concatenated. Paper
    001: 48.7 mAP on OpenImages, linear probe, after 200 epochs.
    """

    Params = CmcParams
    params: CmcParams
    scales = {
        "tiny": {
            "backbone": "lab_resnet18",
            "image_size": 64,
            "epochs": 12,
            "batch_size": 32,
            "optimizer": "adamw",
            "lr": 0.008,
            "warmup_epochs": 1.0,
            "lr_step": "iter",
            "min_scale": 0.7,
            "partition": "softmax",
        },
        "small": {
            "backbone": "lab_resnet18",
            "image_size": 128,
            "batch_size": 256,
            "precision": "bf16",
            "partition": "softmax",
        },
    }

    def supports(self, crop: type[Crop]) -> str | None:
        if crop.style == "image":
            return None
        if crop.style == "pseudo":
            return "CMC's memory bank has a row per image, which several crops of an image would overwrite"
        return "CMC's two views are the lightness and the colours of one crop; further crops would be ignored"

    def viewer(self, images: ImageSet, inputs: dict[str, Path]) -> Viewer:
        return OneView(self.params.image_size, (self.params.min_scale, 1.0))

    def network(self, n_images: int, heads: int = 1) -> Network:
        return CmcNetwork(self.params, n_images)
