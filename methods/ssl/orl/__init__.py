"""ORL: BYOL on images, on jittered RoIs and on corresponding RoIs of neighbour images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from torch import Tensor

from bench.contracts.images import ImageSet
from bench.contracts.method import Method, PretrainParams
from bench.contracts.network import Batch, Network
from bench.contracts.views import Augment, Box, Sample, Source, Viewer, ViewSpec
from bench.core.params import param
from bench.core.picture import contact_sheet, draw_boxes
from bench.core.stage import Stage
from bench.nn.byol import OnlineTarget, output_std
from bench.nn.heads import mlp
from bench.views.sample import BYOL_1, BYOL_2
from methods.ssl.orl.boxes import jitter_box
from methods.ssl.orl.stages import Correspondences, load_correspondences

if TYPE_CHECKING:
    from bench.contracts.planner import Planner


class OrlParams(PretrainParams):
    """Defaults: paper 002, section 3, on COCO; where its code differs, each setting says which it
    follows."""

    ema0: float = param(
        0.99, ge=0, lt=1, help="target momentum at step 0", search=[0.9, 0.99, 0.996, 0.999]
    )
    hidden: int = param(4096, ge=1, help="hidden width of projector and predictors")
    out: int = param(256, ge=1, help="output width of projector and predictors")
    min_scale: float = param(
        0.08, gt=0, le=1, help="least area of a global view, fraction of the image"
    )
    patch: int = param(96, ge=8, help="side of RoI patches, pixels")
    stage1: str = param("byol", help="method that finds neighbours and correspondences")
    proposals: str = param(
        "selective_search", help="source of RoIs; ground_truth is the paper's ablation"
    )
    neighbours: int = param(
        10, ge=1, help="K, neighbour images of an image", search=[1, 5, 10, 20]
    )
    drop_self: Literal["by_index", "rank0"] = param(
        "by_index",
        help="by_index: an image is never its own neighbour; rank0: the code, which drops the top hit",
    )
    pairs: Literal["rows10pct", "matrix10pct"] = param(
        "rows10pct",
        help="rows10pct: pair_share of the query's RoIs (the code); matrix10pct: of all RoI "
        "pairs (the paper's words, about 100 times as many)",
    )
    pair_share: float = param(
        0.1, gt=0, le=1, help="N, share of top RoI pairs", search=[0.05, 0.1, 0.2]
    )
    roi_size: int = param(224, ge=8, help="side to which RoIs are resized to be compared, pixels")
    min_side: float = param(
        96, ge=0, help="least side of an RoI at a short side of 480; scales with the image"
    )
    max_ratio: float = param(3.0, ge=1, help="largest aspect ratio of an RoI")
    nms: float = param(0.5, ge=0, le=1, help="largest IoU between an image's RoIs")
    top: int = param(100, ge=1, help="most RoIs of an image")
    jitter_iou_min: float | None = param(
        0.5,
        ge=0,
        lt=1,
        help="least IoU of a jittered RoI with its RoI (the code); none: the paper's words",
    )
    jitter_aspect: Literal["absolute", "relative"] = param(
        "absolute", help="the jitter's aspect ratio replaces (the code) or multiplies the RoI's"
    )
    lambda_global: float = param(1.0, ge=0, help="weight of the image loss")
    lambda_intra: float = param(1.0, ge=0, help="weight of the intra-RoI loss")
    lambda_inter: float = param(1.0, ge=0, help="weight of the inter-RoI loss")


@dataclass(frozen=True)
class OrlViews:
    """Six views of an image: two global ones, an RoI and its jitter, and two corresponding RoIs.

    The global views are random crops of the crop's two sources, whose own scale and size win;
    multi-crop's small ones follow as "small1", ... . RoI patches are cropped as they are, then
    augmented as global views.
    """

    params: OrlParams
    found: Correspondences
    sizes: np.ndarray

    def __call__(self, sources: list[Source], rng: np.random.Generator) -> Sample:
        p = self.params
        first, second = [s for s in sources if s.role == "view"][:2]
        small = [s for s in sources if s.role == "small"]
        image = first.image
        k = int(rng.integers(self.found.neighbours.shape[1]))
        other = int(self.found.neighbours[image, k])
        pairs = self.found.pairs(image, k)
        mine, theirs = pairs[rng.integers(len(pairs))]
        boxes = self.found.boxes(image)
        roi = _box(boxes[rng.integers(len(boxes))])
        width, height = (int(v) for v in self.sizes[image])
        moved = jitter_box(roi, (width, height), rng, p.jitter_iou_min, p.jitter_aspect)
        return Sample(
            [
                self._global("view1", first, BYOL_1),
                self._global("view2", second, BYOL_2),
                ViewSpec("ipatch1", image, roi, p.patch, BYOL_1, kind="object"),
                ViewSpec("ipatch2", image, moved, p.patch, BYOL_2, kind="object"),
                ViewSpec("kpatch1", image, _box(boxes[mine]), p.patch, BYOL_1, kind="object"),
                ViewSpec(
                    "kpatch2",
                    other,
                    _box(self.found.boxes(other)[theirs]),
                    p.patch,
                    BYOL_2,
                    kind="object",
                ),
                *(
                    self._global(f"small{i + 1}", s, (BYOL_1, BYOL_2)[i % 2])
                    for i, s in enumerate(small)
                ),
            ]
        )

    def _global(self, role: str, s: Source, augment: Augment) -> ViewSpec:
        scale = s.scale or (self.params.min_scale, 1.0)
        return ViewSpec(
            role, s.image, s.box, s.size or self.params.image_size, augment, scale, kind=s.kind
        )


def _box(row: np.ndarray) -> Box:
    return float(row[0]), float(row[1]), float(row[2]), float(row[3])


class OrlNetwork(OnlineTarget):
    """One backbone and projector for all views; a predictor each for global, intra and inter."""

    def __init__(self, params: OrlParams, heads: int = 1) -> None:
        super().__init__(params.backbone, params.hidden, params.out, params.ema0, heads)
        self.weights = {
            "global": params.lambda_global,
            "intra": params.lambda_intra,
            "inter": params.lambda_inter,
        }
        self.predictor_global = mlp(params.out, params.hidden, params.out)
        self.predictor_intra = mlp(params.out, params.hidden, params.out)
        self.predictor_inter = mlp(params.out, params.hidden, params.out)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """L = l1 L_global + l2 L_intra + l3 L_inter (equation 2), each 0 to 8; six tensors are
        forwarded separately, so that batch-norm statistics are per branch and view."""
        views = batch.views
        parts: dict[str, Tensor] = {}
        small = [v for role, v in views.items() if role.startswith("small")]
        parts["global"], prediction = self.symmetric(
            self.predictor_global, views["view1"], views["view2"], small
        )
        parts["intra"], _ = self.symmetric(
            self.predictor_intra, views["ipatch1"], views["ipatch2"]
        )
        parts["inter"], _ = self.symmetric(
            self.predictor_inter, views["kpatch1"], views["kpatch2"]
        )
        total = sum(
            (self.weights[n] * part for n, part in parts.items()),
            start=parts["global"].new_zeros(()),
        )
        return {"loss": total, **parts, "std": output_std(prediction)}


class Orl(Method):
    """Object-level Representation Learning (Xie et al. 2021, paper 002), three stages.

    Stage 1 is BYOL on images: the very stage that `byol` x `image` trains. Stage 2 finds K nearest
    images in its projection space, RoIs by selective search, and the most similar RoI pairs by
    pooled features. Stage 3
    trains from scratch: L = L_global + L_intra + L_inter, each the symmetric BYOL loss. Table 4:
    COCO box AP 40.3 against BYOL's 39.5 (Mask R-CNN R50-FPN 1x, 800 epochs each).

    The paper's global views are of whole images. Other crops choose where they come from; RoIs,
    neighbours and stage 1 are of whole images whatever the crop.
    """

    Params = OrlParams
    params: OrlParams
    scales = {
        "tiny": {
            "backbone": "resnet18",
            "image_size": 64,
            "epochs": 8,
            "batch_size": 32,
            "optimizer": "adamw",
            "lr": 0.008,
            "warmup_epochs": 1.0,
            "lr_step": "iter",
            "min_scale": 0.7,
            "ema0": 0.9,
            "hidden": 512,
            "out": 128,
            "patch": 32,
            "roi_size": 48,
            "top": 24,
        },
        "small": {
            "backbone": "resnet18",
            "image_size": 128,
            "epochs": 200,
            "batch_size": 256,
            "hidden": 2048,
            "precision": "bf16",
            "patch": 64,
            "roi_size": 128,
        },
    }

    @classmethod
    def figures(cls) -> dict[str, str]:
        return {"pairs": "methods.ssl.orl.figure:run"}

    def stages(self, plan: Planner, data: Stage) -> dict[str, Stage]:
        p = self.params
        proposals = plan.proposals(p.proposals, data)
        first = plan.pretrain(p.stage1, "image", data)
        near = Stage(
            "neighbours",
            "cosine",
            1,
            {
                "split": "train",
                "neighbours": p.neighbours,
                "drop_self": p.drop_self,
                "size": first.params["method"]["params"]["image_size"],
            },
            "methods.ssl.orl.stages:find_neighbours",
            {"data": data, "network": first},
        )
        keys = ("pairs", "pair_share", "min_side", "max_ratio", "nms", "top")
        found = Stage(
            "pairs",
            "orl",
            self.version,
            {"split": "train", "size": p.roi_size, **{key: getattr(p, key) for key in keys}},
            "methods.ssl.orl.stages:find_pairs",
            {"data": data, "proposals": proposals, "network": first, "neighbours": near},
        )
        return {"pairs": found}

    def viewer(self, images: ImageSet, inputs: dict[str, Path]) -> Viewer:
        return OrlViews(
            self.params, load_correspondences(inputs["pairs"], images), np.asarray(images.sizes)
        )

    def network(self, n_images: int, heads: int = 1) -> Network:
        return OrlNetwork(self.params, heads)

    def inspect(self, images: ImageSet, inputs: dict[str, Path]) -> dict[str, object]:
        """The best correspondence of eight images with their nearest neighbour (paper 002, Fig.
        3)."""
        found = load_correspondences(inputs["pairs"], images)
        rows = []
        for i in np.linspace(0, len(images) - 1, min(8, len(images))).astype(int):
            other = int(found.neighbours[i, 0])
            mine, theirs = found.pairs(int(i), 0)[0]
            left = draw_boxes(images.image(int(i)), found.boxes(int(i))[mine : mine + 1])
            rows.append(
                [left, draw_boxes(images.image(other), found.boxes(other)[theirs : theirs + 1])]
            )
        return {"correspondences": contact_sheet(rows)}
