"""Pictures of CAST's views: what is salient in them."""

from __future__ import annotations

import numpy as np

from bench.contracts.views import Sample
from bench.views.loader import crop_resize


def draw_views(image: np.ndarray, sample: Sample) -> list[np.ndarray]:
    """Both views of (H, W, 3) uint8 `image`, (S, S, 3) uint8 each without colour augmentation, at
    a third of the brightness where they are not salient."""
    pictures = []
    for spec, mask in zip(sample.views, sample.extra["salient"], strict=True):
        assert spec.box is not None
        view = crop_resize(image, spec.box, spec.size).permute(1, 2, 0).numpy()
        view = view[:, ::-1] if spec.flip else view
        pictures.append(np.where(mask[..., None] == 1, view, view // 3))
    return pictures
