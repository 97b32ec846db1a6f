"""Whether a network tells images apart: a look at its features before a task is run on it.

A task makes a number of any features. Of a network whose output is the same for all or most
images, it is a number of the order of the images.
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
from bench.nn.neighbours import unit_rows
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
EQUAL = 1e-6  # distance of unit rows that are equal but for rounding


def measure_spread(features: Tensor) -> float:
    """||u - mean(u)|| / sqrt(n) over the unit rows u of (n, D) features, Frobenius norms in double
    precision: 0 where all rows have one direction, and where all are 0.

    Length alone tells nothing apart: tasks compare features by cosine, or divide them by their
    length. Nor do numbers beside one that is a million times as large.
    """
    rows = unit_rows(features).double()
    return float((rows - rows.mean(0)).norm()) / math.sqrt(len(rows))


def count_directions(features: Tensor) -> int:
    """How many of the unit rows of (n, D) features are not equal to an earlier one."""
    rows = unit_rows(features).double()
    equal = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist") < EQUAL
    return int((~equal.tril(-1).any(1)).sum())


def tells_apart(features: Tensor) -> bool:
    """Whether (n, D) features of n different images differ: spread from `LEAST_SPREAD` on, and
    more than half of the rows with a direction of their own."""
    spread = measure_spread(features) >= LEAST_SPREAD
    return spread and 2 * count_directions(features) > len(features)


def is_dead(ctx: StageContext, task: Task) -> bool:
    """Whether the backbone does not tell some images apart that differ (`tells_apart`).
    StageFailed where a feature is infinite or not a number."""
    views = _open_views(ctx, task)
    if len(views) < 2:  # nothing that could be told apart
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
    return not tells_apart(features)


def _open_views(ctx: StageContext, task: Task) -> Tensor:
    """(n, 3, 64, 64) uint8: images of the last split that the task opens, no two alike."""
    images = _open_split(ctx, task)
    if images is None or not len(images):
        return torch.zeros(0, 3, 64, 64, dtype=torch.uint8)
    places = np.linspace(0, len(images) - 1, min(IMAGES, len(images))).round().astype(int)
    return torch.stack([TRANSFORM(images.image(int(at))) for at in places]).unique(dim=0)


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
