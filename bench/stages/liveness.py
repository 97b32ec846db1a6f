"""Whether a network tells images apart: a look at its features before a task is run on it.

A task makes a number of any features. Of a network whose output is the same for every image, it is
a number of the order of the images alone.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from bench.contracts.context import StageContext
from bench.contracts.task import Task
from bench.core.errors import BadData, StageFailed
from bench.data.preprocess import Transform
from bench.stages.extract import load_extractor
from bench.stages.features import backbone_name
from bench.stages.pretrain.setup import pick_device, step_threads

if TYPE_CHECKING:
    from bench.contracts.images import ImageSet

IMAGES = 16  # that are looked at, evenly spaced over the split
TRANSFORM = Transform("center", 73, 64)  # a small view is enough to tell images apart
# Cosine similarities of features with a spread of s differ by about s^2, which float32 rounds to
# nothing below its spacing at 1. Untrained networks have a spread of .3 to .5 on scenes.
LEAST_SPREAD = math.sqrt(np.finfo(np.float32).eps)


def measure_spread(features: Tensor) -> float:
    """||f - mean(f)|| / ||f|| over the rows of (n, D) features, Frobenius norms in double
    precision: 0 where all rows are equal, and where all are 0."""
    rows = features.double()
    size = float(rows.norm())
    return float((rows - rows.mean(0)).norm()) / size if size else 0.0


def is_dead(ctx: StageContext, task: Task) -> bool:
    """Whether the backbone has the same features for all of some images that differ: a spread
    below `LEAST_SPREAD`. StageFailed where a feature is infinite or not a number."""
    views = _open_views(ctx, task)
    if views is None or bool((views == views[:1]).all()):  # nothing that could be told apart
        return False
    device, threads = pick_device(ctx.runtime.devices), torch.get_num_threads()
    torch.set_num_threads(step_threads(ctx, device))
    try:
        source = ctx.stage.inputs["backbone"]
        extract = load_extractor(
            ctx.inputs["backbone"], backbone_name(source), ["gap"], device, "fp32"
        )
        features = extract(views)["gap"].cpu()
    finally:
        torch.set_num_threads(threads)
    if not bool(torch.isfinite(features).all()):
        raise StageFailed(
            f"{ctx.stage}: the features of {source} are infinite or not a number; check the loss "
            "of the pretraining, or the file of weights"
        )
    return measure_spread(features) < LEAST_SPREAD


def _open_views(ctx: StageContext, task: Task) -> Tensor | None:
    """(n, 3, 64, 64) uint8: images of the last split that the task opens, None where it has fewer
    than two of them."""
    images = _open_split(ctx, task)
    if images is None or len(images) < 2:
        return None
    places = np.linspace(0, len(images) - 1, min(IMAGES, len(images))).round().astype(int)
    return torch.stack([TRANSFORM(images.image(int(at))) for at in places])


def _open_split(ctx: StageContext, task: Task) -> ImageSet | None:
    """The last split that the task says it opens; of a task that says nothing, one that is
    there."""
    needed = task.data_needs(task.params).splits
    if needed:
        return ctx.images("data", needed[-1])
    for split in ("val", "test", "train"):
        try:
            return ctx.images("data", split)
        except BadData:
            continue
    return None
