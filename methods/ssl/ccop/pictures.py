"""Pictures of CCOP's views, their RoIs and the moved boxes that may be keys."""

from __future__ import annotations

import numpy as np
import torch

from bench.contracts.views import Sample
from bench.core.picture import draw_boxes
from bench.views.loader import crop_resize
from methods.ssl.ccop.noise import candidates, curriculum
from methods.ssl.ccop.params import CcopParams


def draw_views(image: np.ndarray, sample: Sample, p: CcopParams) -> list[np.ndarray]:
    """Four pictures (S, S, 3) uint8 of (H, W, 3) uint8 `image`: the query and the key view with
    their common RoIs, then the key view with the first RoI and the moved boxes that may be its
    key at the start and at the end of the training."""
    count, pictures = int(sample.extra["box_count"]), []
    for spec, boxes in zip(sample.views, sample.extra["boxes"], strict=True):
        assert spec.box is not None
        view = crop_resize(image, spec.box, spec.size).permute(1, 2, 0).numpy()
        view = view[:, ::-1] if spec.flip else view
        pictures.append(draw_boxes(view, boxes[:count]))
    for progress in (0.0, 1.0):
        first = torch.from_numpy(boxes[: min(count, 1)])
        draws = (
            torch.rand(len(first), p.jitters, 4, generator=torch.Generator().manual_seed(0)) * 2
            - 1
        )
        moved, allowed = candidates(
            first, curriculum(progress, p.sncl, p.fixed_beta), draws, spec.size
        )
        pictures.append(
            draw_boxes(view, np.concatenate([boxes[: len(first)], moved[allowed].numpy()]))
        )
    return pictures
