"""The picture of ORL's correspondences (paper 002, Fig. 3)."""

from __future__ import annotations

from bench.contracts.context import StageContext
from bench.contracts.images import positions
from bench.figures._content import panel, save
from methods.ssl.orl.correspondences import load_correspondences

PAIRS = 2  # pairs in a row


def run(ctx: StageContext) -> None:
    """The best pair of RoIs of each image and its nearest neighbour."""
    images = ctx.images("data", str(ctx.params["split"]))
    correspondences = load_correspondences(ctx.inputs["pairs"], images)
    panels = []
    for at, i in enumerate(positions(images, ctx.params["images"])):
        other = int(correspondences.neighbours[i, 0])
        mine, theirs = correspondences.pairs(i, 0)[0]
        for image, box, what in (
            (i, correspondences.boxes(i)[mine], "image"),
            (other, correspondences.boxes(other)[theirs], "neighbour"),
        ):
            panels.append(
                panel(images.image(image), f"{what} {images.ids[image]}", box, colours=[at % 7])
            )
    rows = [panels[i : i + 2 * PAIRS] for i in range(0, len(panels), 2 * PAIRS)]
    below = (
        "The pair of regions with the most similar features of each image and its nearest "
        "neighbour."
    )
    save(
        ctx.work,
        {
            "rows": rows,
            "columns": [],
            "title": f"Correspondences: {ctx.params['method']['name']}",
            "below": below,
        },
    )
