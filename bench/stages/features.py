"""The features stage: a frozen backbone over one split, extracted once and shared by every task.

Leaves `ids.npy` (N,) and one raw float32 array (N, D) per layer, `<layer>.npy`, to be
memory-mapped. Tasks plan with this module, so the work is in `bench.stages.extract`, which imports
PyTorch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.contracts.context import StageContext
from bench.contracts.images import ImageSet
from bench.core.errors import BadData
from bench.core.stage import Stage
from bench.data.preprocess import Transform

VERSION = 1


def backbone_name(stage: Stage) -> str:
    """The architecture of a backbone stage."""
    return str(stage.params["method"]["params"]["backbone"])


def features_stage(
    backbone: Stage,
    data: Stage,
    split: str,
    transform: Transform,
    layers: Sequence[str],
    precision: str = "fp32",
) -> Stage:
    """The features of `split` of `data`: one stage for every task that asks for the same."""
    return Stage(
        kind="features",
        name=f"{transform.mode}{transform.size}",
        version=VERSION,
        runner="bench.stages.features:run",
        params={
            "split": split,
            "transform": transform.identity(),
            "layers": sorted(layers),
            "precision": precision,
            "backbone": backbone_name(backbone),
        },
        inputs={"backbone": backbone, "data": data},
    )


def load_features(folder: Path, layer: str, images: ImageSet) -> np.ndarray:
    """(N, D) float32 of the layer, memory-mapped, rows in the order of `images`."""
    if not np.array_equal(np.load(folder / "ids.npy"), images.ids):
        raise BadData(
            f"{folder} was made from other images than {images.name}/{images.split}; use --force"
        )
    rows: np.ndarray = np.load(folder / f"{layer}.npy", mmap_mode="r")
    return rows


def run(ctx: StageContext) -> None:
    """Extract the features; a killed stage goes on from the rows that are safely on disk."""
    from bench.stages.extract import extract_features

    extract_features(ctx)
