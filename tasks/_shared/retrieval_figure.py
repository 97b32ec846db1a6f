"""The picture of the space in which objects are retrieved (paper 003, Fig. 5)."""

from __future__ import annotations

import numpy as np

from bench.contracts.context import StageContext
from bench.contracts.titles import title_of
from bench.figures._content import save
from bench.figures.embedding import content


def run(ctx: StageContext) -> None:
    """A map of the features that the evaluation kept."""
    p = ctx.params["task"]["params"]
    with np.load(ctx.inputs["cell"] / "objects.npz") as file:
        features, labels = file["features"], file["label"]
    classes = list(ctx.images("data", str(p["split"])).classes)
    backbone = ctx.stage.inputs["cell"].inputs.get("backbone")
    title = title_of(backbone) if backbone else "objects"
    way, seed = str(ctx.params["projection"]), int(ctx.params["seed"])
    save(
        ctx.work,
        content(features, labels, classes, way, seed, f"{title}, {p['features']} features"),
    )
