"""The features of a frozen backbone that a task reads: the stages that extract them, and their
arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.stages.features import features_stage, load_features

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.contracts.context import StageContext
    from bench.contracts.images import ImageSet
    from bench.core.stage import Stage
    from bench.data.preprocess import Transform


def feature_stages(
    backbone: Stage, data: Stage, transform: Transform, layers: Sequence[str], precision: str
) -> dict[str, Stage]:
    """Inputs of a task that reads extracted features: backbone, data and the features of train and
    val."""
    inputs = {"backbone": backbone, "data": data}
    for split in ("train", "val"):
        inputs[f"features_{split}"] = features_stage(
            backbone, data, split, transform, layers, precision
        )
    return inputs


@dataclass(frozen=True)
class Split:
    """A split with its features: images, (N, D) float32 memory-mapped."""

    images: ImageSet
    features: np.ndarray


def load_split(ctx: StageContext, split: str, layer: str) -> Split:
    """The images of a split and the layer that the features stage extracted."""
    images = ctx.images("data", split)
    return Split(images, load_features(ctx.inputs[f"features_{split}"], layer, images))
