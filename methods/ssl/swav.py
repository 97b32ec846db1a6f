"""SwAV: predict the cluster code of another view, codes made online by Sinkhorn-Knopp; 2 + 6
crops."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.contracts.method import Method, PretrainParams
from bench.contracts.network import Batch, Network
from bench.contracts.views import Viewer
from bench.core.params import param
from bench.nn.byol import output_std
from bench.nn.contrastive import at_least_float32
from bench.nn.distributed import gather_rows, rank_and_size
from bench.nn.heads import make_head, project
from bench.nn.multicrop import by_size, joined_kinds, order_views
from bench.nn.sinkhorn import sinkhorn, swapped_loss
from bench.views.sample import SWAV
from methods.crops._random_crops import RandomCrops

if TYPE_CHECKING:
    from bench.contracts.images import ImageSet


class SwavParams(PretrainParams):
    """SwAV's settings; the defaults are its code's for batches of 256 (4,096: lr 0.3, warm-up 10
    epochs from 0.0625, no queue). Paper 001 lowers `eps` to 0.03 and halves the rate on
    OpenImages."""

    epochs: int = param(200, ge=1, help="passes over the crop's samples", search=["int", 1, 800])
    batch_size: int = param(256, ge=2, help="images per optimiser step over all devices")
    optimizer: Literal["sgd", "lars", "adamw"] = param("lars")
    lr: float = param(
        0.6, gt=0, help="for 256 images; scaled by batch_size/256", search=["log", 1e-2, 3.0]
    )
    weight_decay: float = param(1e-6, ge=0)
    warmup_epochs: float = param(0.0, ge=0, help="epochs of linear warm-up")
    lr_step: Literal["epoch", "iter"] = param("iter", help="when the cosine moves")
    hidden: int = param(2048, ge=1, help="hidden width of the projector")
    out: int = param(128, ge=1, help="width of projections and prototypes")
    prototypes: int = param(
        3000, ge=2, help="K; 3000: ImageNet, 3 a class", search=[100, 300, 1000, 3000]
    )
    temperature: float = param(
        0.1, gt=0, help="t of the predicted softmax", search=["log", 0.05, 1.0]
    )
    eps: float = param(
        0.05, gt=0, help="Sinkhorn's smoothness; .03: paper 001", search=[0.02, 0.03, 0.05]
    )
    iterations: int = param(3, ge=1, help="Sinkhorn's iterations")
    freeze_epochs: float = param(1.0, ge=0, help="epochs during which prototypes do not move")
    queue: int = param(
        3840, ge=0, help="earlier projections per global view that fill the codes; 0: none"
    )
    queue_from_epoch: int = param(
        15, ge=0, help="epoch, from 0, in which the queue begins to fill"
    )
    queue_below: int = param(512, ge=0, help="batches of this many images and more need no queue")
    min_scale: float = param(
        0.14, gt=0, le=1, help="least area of a global, largest of a small view"
    )
    n_small: int = param(
        6, ge=0, help="small views, where the crop brings none", search=[0, 2, 4, 6]
    )
    small_size: int = param(96, ge=8, help="side of small views, pixels")
    small_min_scale: float = param(0.05, gt=0, le=1, help="least area of a small view")

    @property
    def queue_rows(self) -> int:
        """`queue`, or 0 where batches are large enough without."""
        return self.queue if self.batch_size < self.queue_below else 0


class SwavNetwork(Network):
    """Backbone, projector and prototypes. `queue` (2, Q, out): projections of earlier batches of
    each global view, newest first, of all devices; each device scores its share."""

    queue: Tensor

    def __init__(self, params: SwavParams, heads: int = 1) -> None:
        super().__init__()
        # torchvision takes a second; plans need none
        from bench.nn.backbones import build_backbone

        online, p = build_backbone(params.backbone), params
        self.backbone: nn.Module = online
        self.projector = make_head(
            lambda: nn.Sequential(
                nn.Linear(online.feature_dim, p.hidden),
                nn.BatchNorm1d(p.hidden),
                nn.ReLU(inplace=True),
                nn.Linear(p.hidden, p.out),
            ),
            heads,
        )
        self.prototypes = nn.Linear(p.out, p.prototypes, bias=False)
        self.register_buffer("queue", torch.zeros(2, p.queue_rows, p.out))
        self.params = params

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The swapped prediction loss, near ln(prototypes) at the start; "std" near 0: collapsed
        outputs."""
        views = order_views(batch.views)
        z = F.normalize(
            at_least_float32(
                project(self.projector, by_size(self.backbone, views), joined_kinds(views))
            ),
            dim=1,
        )
        with torch.autocast(z.device.type, enabled=False):
            weight = self._unit_prototypes(batch)
            scores = list((z @ weight.T).chunk(len(views)))
            codes = self._codes(
                scores[:2], z.detach().chunk(len(views))[:2], weight.detach(), batch
            )
            loss = swapped_loss(scores, codes, self.params.temperature)
        return {"loss": loss, "std": output_std(z[: len(views[0].images)])}

    def _unit_prototypes(self, batch: Batch) -> Tensor:
        """(K, out), set to unit length first. While they are frozen their gradient is zero, not
        absent, which every device can add up; weight decay then changes their length alone, which
        is set again."""
        weight = self.prototypes.weight
        with torch.no_grad():
            weight.copy_(F.normalize(weight, dim=1))
        frozen = batch.step * self.params.epochs < self.params.freeze_epochs * batch.total_steps
        return weight.detach() + 0.0 * weight if frozen else weight

    @torch.no_grad()
    def _codes(
        self, scores: list[Tensor], z: tuple[Tensor, ...], weight: Tensor, batch: Batch
    ) -> list[Tensor]:
        """(B, K) of each global view. Queue rows, once there are enough, take part in the
        assignment and are dropped; then this batch's rows enter the queue."""
        p, found = self.params, []
        rank, ranks = rank_and_size()
        rows = len(z[0]) * ranks
        since = batch.step - p.queue_from_epoch * (batch.total_steps // p.epochs)
        full = p.queue_rows > 0 and since * rows >= p.queue_rows
        for i, own in enumerate(scores):
            every = (
                torch.cat([own.detach(), self.queue[i, rank::ranks] @ weight.T])
                if full
                else own.detach()
            )
            found.append(sinkhorn(every, p.eps, p.iterations)[: len(own)])
        if p.queue_rows > 0 and since >= 0:
            newest = torch.stack([gather_rows(one) for one in z])
            self.queue.copy_(torch.cat([newest, self.queue], dim=1)[:, : p.queue_rows])
        return found

    def embed(self, images: Tensor) -> Tensor:
        """Normalised projections, which the prototypes are compared with; call in eval mode."""
        return F.normalize(project(self.projector, self.backbone(images)), dim=1)


class Swav(Method):
    """Swapping assignments between views (Caron et al. 2020), with its multi-crop.

    L = mean over global views i and views v != i of -mean_n sum_k q_i,n,k ln softmax_k(c_k z_v,n /
    0.1),
    c the unit prototypes, z the unit projections, q_i the codes of view i: three Sinkhorn
    iterations at eps 0.05 over the batch and, for small batches, a queue. Two global views of 224
    pixels, area U(0.14, 1), and six of 96 pixels, area U(0.05, 0.14); a multi-crop strategy brings
    its own small ones. Paper 001, table 1: 51.3 mAP on OpenImages with a linear probe.

    Where this is not the published code: cosine to 0 (code: to a thousandth of the rate); LARS
    leaves vectors unscaled (LARC scales them too); torchvision's stem and the loader's
    normalisation with red's deviation .229 (code: a padded stem, .228).
    """

    Params = SwavParams
    params: SwavParams
    scales = {
        "tiny": {
            "backbone": "resnet18",
            "image_size": 64,
            "epochs": 9,
            "batch_size": 32,
            "optimizer": "adamw",
            "lr": 0.008,
            "min_scale": 0.7,
            "small_min_scale": 0.2,
            "hidden": 512,
            "small_size": 32,
            "eps": 0.01,
            "warmup_epochs": 1.0,  # .05 leaves small batches at ln(prototypes)
            # 3 prototypes for each of the scenes' 20 classes; batch and queue together outnumber
            # them
            "prototypes": 60,
            "queue": 64,
            "queue_from_epoch": 2,
        },
        "small": {
            "backbone": "resnet18",
            "image_size": 128,
            "epochs": 200,
            "batch_size": 256,
            "small_size": 56,
            "prototypes": 300,
            "queue": 512,
            "precision": "bf16",
        },
    }

    @classmethod
    def peer(cls) -> Callable[..., Any]:
        from methods.ssl._lightly import swav

        return swav

    def viewer(self, images: ImageSet, inputs: dict[str, Path]) -> Viewer:
        p = self.params
        return RandomCrops(
            p.image_size,
            (p.min_scale, 1.0),
            SWAV,
            p.n_small,
            p.small_size,
            (p.small_min_scale, p.min_scale),
        )

    def network(self, n_images: int, heads: int = 1) -> Network:
        return SwavNetwork(self.params, heads)
