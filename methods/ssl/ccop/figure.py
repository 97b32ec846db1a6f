"""The picture of CCOP's curriculum (paper 003, Fig. 3)."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch

from bench.contracts.context import StageContext
from bench.contracts.images import ImageSet, positions
from bench.contracts.views import Sample, Source, Viewer, ViewSpec
from bench.core.errors import BadData
from bench.figures._content import Content, panel, save
from bench.stages.pretrain.setup import build_method
from bench.views.loader import crop_resize
from methods.ssl.ccop.noise import candidates, curriculum
from methods.ssl.ccop.params import CcopParams

TIMES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the training
TRIES = 50  # pairs of views of an image, until both show an RoI
SIDE = 224  # pixels at which views are shown


def run(ctx: StageContext) -> None:
    """A row for each image that has RoIs: the query view with one, then the key view with the
    moved boxes that may be its key, at five moments. The random draws are the same at all of them.
    """
    method = build_method(ctx.params["method"])
    settings = cast(CcopParams, method.params)
    images = ctx.images("data", str(ctx.params["split"]))
    viewer = method.viewer(images, dict(ctx.inputs))
    samples = [_common(viewer, i) for i in positions(images, ctx.params["images"])]
    rows = [_row(images, sample, settings) for sample in samples if sample is not None]
    if not rows:
        raise BadData(
            "two views of none of these images show a common region; try more: --count 12"
        )
    noise = [curriculum(t, settings.sncl, settings.fixed_beta) for t in TIMES]
    columns = [
        "query",
        *(f"{t:.0%} trained, IoU ≥ {n.bound:.2f}" for t, n in zip(TIMES, noise, strict=True)),
    ]
    below = (
        "Dashed: the region in the key view. Lines: moved boxes that may be the key at that time."
    )
    save(
        ctx.work,
        {
            "rows": rows,
            "columns": columns,
            "title": f"Spatial noise: {method.name}",
            "below": below,
        },
    )


def _common(viewer: Viewer, image: int) -> Sample | None:
    """Two views with a common RoI."""
    for seed in range(TRIES):
        sample = viewer([Source(image), Source(image)], np.random.default_rng([image, seed]))
        if int(sample.extra["box_count"]):
            return sample
    return None


def _row(images: ImageSet, sample: Sample, p: CcopParams) -> list[Content]:
    count = int(sample.extra["box_count"])
    boxes = sample.extra["boxes"][:, :count].astype(np.float64)
    sides = boxes[1, :, 2:] - boxes[1, :, :2]
    # of a middle size
    at = int(np.argmin(np.abs(np.sqrt(sides.prod(1)) / sample.views[1].size - 0.45)))
    (query, one), (key, two) = (
        _view(images, v, b) for v, b in zip(sample.views[:2], boxes[:, at], strict=True)
    )
    region = torch.from_numpy(two)[None]
    draws = torch.rand(1, p.jitters, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
    row = [panel(query, boxes=one, dashed=[True])]
    for time in TIMES:
        moved, allowed = candidates(
            region, curriculum(time, p.sncl, p.fixed_beta), draws.double(), SIDE
        )
        kept = moved[0, :-1][allowed[0, :-1]].numpy()
        row.append(
            panel(
                key,
                boxes=np.concatenate([kept, two[None]]),
                dashed=[False] * len(kept) + [True],
                colours=[*(1 + i % 6 for i in range(len(kept))), 0],
            )
        )
    return row


def _view(images: ImageSet, spec: ViewSpec, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the view shows, without colour augmentation, and its box, at `SIDE` pixels."""
    assert spec.box is not None
    view = crop_resize(images.image(spec.image), spec.box, SIDE).permute(1, 2, 0).numpy()
    return np.ascontiguousarray(view[:, ::-1] if spec.flip else view), box * (SIDE / spec.size)
