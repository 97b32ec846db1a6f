"""SoCo: BYOL between the features of the same proposal in three views, through a feature pyramid."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor, nn

from bench.contracts.method import Method, PretrainParams
from bench.contracts.network import Batch, Network
from bench.contracts.views import Augment, Box, Sample, Source, Viewer, ViewSpec
from bench.core.params import param
from bench.nn.byol import output_std
from bench.nn.ema import cosine_momentum, ema_update
from bench.nn.heads import mlp
from bench.views.boxes import to_view
from bench.views.sample import BYOL_1, BYOL_2, random_resized_crop, whole_pixels
from methods.ssl.soco.boxes import draw, inside, jitter, pad, usable_boxes

if TYPE_CHECKING:
    from bench.contracts.crop import Crop
    from bench.contracts.images import ImageSet
    from bench.contracts.planner import Planner
    from bench.core.stage import Stage
    from bench.stages.proposals import ProposalTable

ROLE = "roi_proposals"  # not "proposals", which a crop may use for boxes of its own


class SocoParams(PretrainParams):
    """Defaults: the published training script of SoCo with FPN, 100 epochs (its ImageNet setting)."""

    epochs: int = param(
        100, ge=1, help="passes over the crop's samples (400 for the longer schedule)"
    )
    batch_size: int = param(2048, ge=2, help="images per optimiser step over all devices")
    optimizer: Literal["sgd", "lars", "adamw"] = param("lars")
    lr: float = param(
        1.0, gt=0, help="for 256 images; scaled by batch_size/256", search=["log", 1e-2, 3.0]
    )
    weight_decay: float = param(1e-5, ge=0)
    decay_norm_and_bias: bool = param(False, help="weight decay on batch norm and biases too")
    warmup_epochs: float = param(10.0, ge=0, help="epochs of linear warm-up")
    lr_step: Literal["epoch", "iter"] = param("iter", help="when the cosine moves")
    ema0: float = param(
        0.99, ge=0, lt=1, help="target momentum at step 0", search=[0.9, 0.99, 0.996, 0.999]
    )
    fpn: int = param(
        256, ge=1, help="channels of the feature pyramid and of the head's convolutions"
    )
    fc: int = param(1024, ge=1, help="width of the head's linear layer")
    hidden: int = param(4096, ge=1, help="hidden width of projector and predictor")
    out: int = param(256, ge=1, help="output width of projector and predictor")
    min_scale: float = param(0.5, gt=0, le=1, help="least area of the second and third view")
    v3: Literal["independent", "downsampled"] = param(
        "independent",
        help="third view: a crop of its own (the code) or the second's at half its size",
    )
    proposals: str = param("selective_search", help="source of the boxes")
    boxes: int = param(4, ge=1, help="K, boxes of a pair of views", search=[1, 4, 8, 16])
    tries: int = param(5, ge=1, help="draws of the crops until K/2, then fewer boxes meet both")
    min_side: float = param(
        32, ge=0, help="least side of a box at a short side of 480; scales with the image"
    )
    max_ratio: float = param(3.0, ge=1, help="largest aspect ratio of a box")
    share: tuple[float, float] = param((0.3, 0.8), help="range of sqrt(box area / image area)")
    jitter_p: float = param(
        0.5, ge=0, le=1, help="probability that a box of the first view is moved"
    )
    jitter: float = param(0.1, ge=0, lt=0.5, help="by how much, fraction of width and height")
    thresholds: tuple[float, float, float] = param(
        (48.0, 96.0, 192.0), help="largest sqrt(area) on p2, p3 and p4, pixels of a 224-pixel view"
    )
    levels: Literal["same", "any"] = param(
        "same",
        help="same: a box counts where both views put it on one level (the code); any: always",
    )
    cutout_p: float = param(0.5, ge=0, le=1, help="probability of a grey square in a box")
    cutout: tuple[float, float] = param(
        (0.1, 0.3), help="range of the square's area, fraction of the box"
    )
    cutout_views: Literal["view2", "both"] = param(
        "view2", help="both: in the third view too (the FPN code)"
    )


@dataclass(frozen=True)
class SocoViews:
    """Three views and the boxes in them. "view1" is the whole source squeezed to a square, "view2"
    a random resized crop of the second source, "view3" one at half the size.

    `extra["boxes"]`: (4, K, 4) float32 xyxy, pixels of view1 and view2 (for that pair), then of
    view1 and view3, after crop, resize and flip. `extra["ids"]`: (4, K) int64, equal where the
    proposal is.
    """

    params: SocoParams
    table: ProposalTable
    ids: np.ndarray
    sizes: np.ndarray

    def __call__(self, sources: list[Source], rng: np.random.Generator) -> Sample:
        p = self.params
        first, second = [s for s in sources if s.role == "view"][:2]
        region, home = self._region(first), self._region(second)
        found = self._proposals(first, region)
        if first.image != second.image:
            found = found[:0]
        crops, picks = self._crops(found, home, second.scale or (p.min_scale, 1.0), rng)
        large = (first.size or p.image_size, second.size or p.image_size)
        flips = rng.random(3) < 0.5
        pairs: list[tuple[np.ndarray, np.ndarray]] = []
        for at, (crop, pick) in enumerate(zip(crops, picks, strict=True)):
            sizes = (large[0], large[1] // (1, 2)[at])
            pairs += self._pair(pick, (region, crop), sizes, (flips[0], flips[at + 1]), rng)
        views = [
            _spec("view1", first, region, large[0], BYOL_1, flips[0]),
            _spec("view2", second, crops[0], large[1], BYOL_2, flips[1]),
            _spec("view3", second, crops[1], large[1] // 2, BYOL_2, flips[2]),
        ]
        boxes, ids = (np.stack(part) for part in zip(*pairs, strict=True))
        return Sample(views, {"boxes": boxes.astype(np.float32), "ids": ids})

    def _region(self, source: Source) -> Box:
        width, height = (int(v) for v in self.sizes[source.image])
        return whole_pixels(source.box, width, height)

    def _proposals(self, source: Source, region: Box) -> np.ndarray:
        p, boxes = self.params, self.table.boxes(int(self.ids[source.image]))
        return usable_boxes(inside(boxes, region), region, p.min_side, p.max_ratio, p.share)

    def _crops(
        self, found: np.ndarray, home: Box, scale: tuple[float, float], rng: np.random.Generator
    ) -> tuple[list[Box], list[np.ndarray]]:
        """Crops of views 2 and 3, drawn again while too few proposals meet them, and the boxes of
        each."""
        p, need = self.params, max(self.params.boxes // 2, 1)
        crops: list[Box] = []
        picks: list[np.ndarray] = []
        for _ in range(p.tries):
            crops = [random_resized_crop(rng, home, scale)]
            crops.append(
                crops[0] if p.v3 == "downsampled" else random_resized_crop(rng, home, scale)
            )
            picks = [draw(found, crops[0], p.boxes, rng)]
            picks.append(
                picks[0] if p.v3 == "downsampled" else draw(found, crops[1], p.boxes, rng)
            )
            if min(map(len, picks)) >= need:
                break
            need = max(need // 2, 1)
        return crops, picks

    def _pair(
        self,
        pick: np.ndarray,
        crops: tuple[Box, Box],
        sizes: tuple[int, int],
        flips: tuple[bool, bool],
        rng: np.random.Generator,
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Boxes and ids of view 1 and of the other view; without any proposal the whole of both
        views."""
        p = self.params
        if len(pick):
            both = [jitter(pick, crops[0], p.jitter_p, p.jitter, rng), pick]
        else:
            both = [np.array([c], np.float64) for c in crops]
        parts = zip(both, crops, sizes, flips, strict=True)
        return [
            pad(to_view(b, crop, size, bool(flip)), p.boxes, rng) for b, crop, size, flip in parts
        ]


def _spec(
    role: str, source: Source, crop: Box, size: int, augment: Augment, flip: bool
) -> ViewSpec:
    return ViewSpec(role, source.image, crop, size, augment, flip=bool(flip), kind=source.kind)


class SocoNetwork(Network):
    """Online backbone, pyramid, head, projector and predictor; the target has all but the
    predictor."""

    def __init__(self, params: SocoParams, heads: int = 1) -> None:
        super().__init__()
        from bench.nn.backbones import build_backbone
        from methods.ssl.soco.parts import RoiBranch

        online = build_backbone(params.backbone)
        self.params_ = params
        self.backbone: nn.Module = online
        self.branch = RoiBranch(
            online.feature_dim, params.fpn, params.fc, params.hidden, params.out, heads
        )
        self.predictor = mlp(params.out, params.hidden, params.out)
        self.target_backbone = copy.deepcopy(self.backbone).requires_grad_(False)
        self.target_branch = copy.deepcopy(self.branch).requires_grad_(False)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The four directions of the pairs 1-2 and 1-3 summed, -8 to 8 (without a matching box 0)."""
        from methods.ssl.soco.parts import correspondence, own_level, soco_loss

        p, boxes, ids = self.params_, batch.extra["boxes"], batch.extra["ids"]
        levels = self._levels(boxes)
        views = self._views(batch)
        # View 1 is forwarded once, with the boxes of both pairs.
        which = {"view1": [0, 2], "view2": [1], "view3": [3]}
        predicted: dict[int, Tensor] = {}
        aimed: dict[int, Tensor] = {}
        for role, rows in which.items():
            at, own = (torch.cat([x[:, r] for r in rows], 1) for x in (boxes, levels))
            objects = batch.views[role].objects
            online = self.branch(self.backbone, views[role], at, objects)
            with torch.no_grad():
                target = self.target_branch(self.target_backbone, views[role], at, objects)
            guess = torch.stack([self.predictor(z.flatten(0, 1)).view_as(z) for z in online])
            predicted |= dict(zip(rows, own_level(guess, own).split(p.boxes, 1), strict=True))
            aimed |= dict(zip(rows, own_level(target, own).split(p.boxes, 1), strict=True))
        losses, matched = [], []
        for a, b in ((0, 1), (2, 3)):
            corr = correspondence(
                ids[:, a], ids[:, b], levels[:, a], levels[:, b], p.levels == "same"
            )
            both = soco_loss(predicted[a], aimed[b], corr)
            losses.append(both + soco_loss(predicted[b], aimed[a], corr.transpose(1, 2)))
            matched.append((corr.sum((1, 2)) > 0).float().mean())
        return {
            "loss": losses[0] + losses[1],
            "loss12": losses[0],
            "loss13": losses[1],
            "matched12": matched[0],
            "matched13": matched[1],
            "std": output_std(predicted[0].detach().flatten(0, 1)),
        }

    def _levels(self, boxes: Tensor) -> Tensor:
        from bench.nn.fpn import level_of

        return level_of(boxes, self.params_.image_size, self.params_.thresholds)

    def _views(self, batch: Batch) -> dict[str, Tensor]:
        """The views' images, cut out inside the boxes of view 2 and, if asked for, of view 3."""
        from methods.ssl.soco.parts import cutout

        p, found = self.params_, {role: v.images for role, v in batch.views.items()}
        for role, row in (("view2", 1), ("view3", 3))[: 2 if p.cutout_views == "both" else 1]:
            found[role] = cutout(found[role], batch.extra["boxes"][:, row], p.cutout_p, p.cutout)
        return found

    def after_step(self, step: int, total_steps: int) -> None:
        """Move the target: parameters only, momentum from `ema0` to 1 by a cosine."""
        momentum = cosine_momentum(step, total_steps, self.params_.ema0)
        ema_update(self.target_backbone, self.backbone, momentum)
        ema_update(self.target_branch, self.branch, momentum)

    def embed(self, images: Tensor) -> Tensor:
        """Online projections of one box, the whole image; call in eval mode."""
        from methods.ssl.soco.parts import own_level

        side = images.shape[-1]
        boxes = images.new_tensor([0, 0, side, images.shape[-2]]).expand(len(images), 1, 4)
        return own_level(self.branch(self.backbone, images, boxes, None), self._levels(boxes))[
            :, 0
        ]


class Soco(Method):
    """Selective Object Contrastive learning (Wei et al. 2021), the FPN variant; no loss on whole
    images.

    L = L(1, 2) + L(1, 3), L(a, b) = D(p_a, z_b) + D(p_b, z_a),
    D = -2 mean_n [sum corr cos / (sum corr + 1e-6)] over the boxes of an image: K = 4 proposals
    that meet both views, features by RoIAlign on the pyramid level that the box's size asks for,
    corr = 1 for the same proposal on the same level. View 1 is the whole image, views 2 and 3 are
    crops of at least half of it, at full and at half size. Boxes of view 1 are jittered. Paper
    000's reproduction on COCO: 39.1 box AP (Table 3; epochs not stated).

    As in the published code, every box is aligned on all four levels and head, projector and
    predictor see one level at a time; the loss takes a box's own level. Where this differs from
    the code: the boxes of view 1 for both pairs go through the head together. Only the backbone is
    transferred here; the authors also hand pyramid and head to the detector.
    """

    version = 3  # batch norm a level at a time
    Params = SocoParams
    params: SocoParams
    scales = {
        "tiny": {
            "backbone": "resnet18",
            "image_size": 64,
            "epochs": 9,
            "batch_size": 32,
            # AdamW is slow to leave the first collapse
            "optimizer": "lars",
            "lr": 4.0,
            "warmup_epochs": 1.0,
            "fpn": 64,
            "fc": 256,
            "hidden": 512,
            "out": 128,
            "ema0": 0.9,
        },
        "small": {
            "backbone": "resnet18",
            "image_size": 128,
            "epochs": 200,
            "batch_size": 256,
            "fpn": 128,
            "fc": 512,
            "hidden": 2048,
            "precision": "bf16",
        },
    }

    def supports(self, crop: type[Crop]) -> str | None:
        if crop.style == "multi":
            return "SoCo makes its own third, smaller view, so it takes no extra small crops"
        return None

    def stages(self, plan: Planner, data: Stage) -> dict[str, Stage]:
        return {ROLE: plan.proposals(self.params.proposals, data)}

    def viewer(self, images: ImageSet, inputs: dict[str, Path]) -> Viewer:
        from bench.stages.proposals import load_proposals

        table = load_proposals(inputs[ROLE])
        return SocoViews(self.params, table, np.asarray(images.ids), np.asarray(images.sizes))

    def network(self, n_images: int, heads: int = 1) -> Network:
        return SocoNetwork(self.params, heads)
