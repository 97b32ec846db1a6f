"""CMC's networks, memory banks and loss."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contracts.network import Batch, Network
from bench.nn.backbones import build_backbone
from bench.nn.byol import output_std
from bench.nn.contrastive import at_least_float32
from bench.nn.distributed import draw_rows, gather_rows
from bench.nn.lab import LabResNet
from methods.ssl.cmc.params import CmcParams


class CmcNetwork(Network):
    """Two encoders with a linear head each, and a memory bank of unit vectors (n_images, dim) per
    encoder."""

    bank_l: Tensor
    bank_ab: Tensor
    z: Tensor

    def __init__(self, params: CmcParams, n_images: int) -> None:
        super().__init__()
        self.params, self.n = params, n_images
        self.negatives = max(1, min(params.negatives, n_images // 2))
        built = build_backbone(params.backbone, params.init)
        self.backbone: LabResNet = built  # type: ignore[assignment]
        self.head_l = nn.Linear(self.backbone.feature_dim // 2, params.dim)
        self.head_ab = nn.Linear(self.backbone.feature_dim // 2, params.dim)
        bound = math.sqrt(3 / params.dim)  # unit length on average
        for name in ("bank_l", "bank_ab"):
            self.register_buffer(name, torch.empty(n_images, params.dim).uniform_(-bound, bound))
        # of L's and of ab's scores; 0: not yet estimated
        self.register_buffer("z", torch.zeros(2))
        self.pending: tuple[Tensor, Tensor, Tensor] | None = None

    def project(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) -> unit vectors of L and of ab, (B, dim) each, float32 even under
        autocast."""
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

    def _contrast(self, queries: Tensor, bank: Tensor, candidates: Tensor, which: int) -> Tensor:
        # All scores, then a choice: the rows of B x (K + 1) choices would take gigabytes.
        with torch.autocast(queries.device.type, enabled=False):
            scores = (queries @ bank.T).gather(1, candidates) / self.params.tau
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
        candidates = torch.cat([view.index[:, None], negatives], 1)
        parts = {
            "l": self._contrast(light, self.bank_ab, candidates, 0),
            "ab": self._contrast(colour, self.bank_l, candidates, 1),
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


def nce_loss(scores: Tensor, z: Tensor, n: int) -> Tensor:
    """L = -mean_b [log h_b0 + sum_k log(1 - h_bk)], h = P / (P + K/n), P = exp(score) / Z.

    scores: (B, 1 + K), the similarity / tau of the positive and of K negatives drawn uniformly
    from n images. Source: Tian et al. 2020, equation 12 (Gutmann and Hyvarinen 2010), in logs: log
    h = log sigmoid(a), a = score - log Z - log(K/n); the code adds 1e-7 to the denominator.
    """
    odds = scores.float() - z.log() - math.log((scores.shape[1] - 1) / n)
    signs = torch.ones_like(odds[0]).neg()
    signs[0] = 1
    return -F.logsigmoid(odds * signs).sum(1).mean()


def estimate_z(scores: Tensor, n: int) -> Tensor:
    """Z = n x mean exp(score) over a batch's positives and negatives, without gradient."""
    return scores.detach().float().exp().mean() * n
