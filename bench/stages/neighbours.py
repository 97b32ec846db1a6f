"""The neighbours stage: every image's most similar others by a network's embeddings.

ORL and object discovery ask for the same stage, so it is made once. Leaves `neighbours.npz`: ids
(N,), neighbour_ids (N, K), similarities (N, K), by image id, most similar first.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from bench.contracts.context import StageContext
from bench.core.errors import BadInput
from bench.core.stage import Stage

VERSION = 1  # of the search


def neighbours_stage(
    data: Stage, network: Stage, count: int, drop_self: Literal["by_index", "rank0"] = "by_index"
) -> Stage:
    """The `count` nearest images of each training image of `data` by cosine, embedded by the
    pretraining `network` at its own image size.

    drop_self: how an image is kept from being its own neighbour (`bench.nn.neighbours.nearest`).
    """
    return Stage(
        kind="neighbours",
        name="cosine",
        version=VERSION,
        runner="bench.stages.neighbours:run",
        params={
            "split": "train",
            "neighbours": count,
            "drop_self": drop_self,
            "size": network.params["method"]["params"]["image_size"],
        },
        inputs={"data": data, "network": network},
    )


def run(ctx: StageContext) -> None:
    """Search; BadInput where an image is asked for as many neighbours as there are images."""
    from bench.nn.neighbours import nearest
    from bench.stages.embed import embed_images

    images = ctx.images("data", str(ctx.params["split"]))
    k = int(ctx.params["neighbours"])
    if k >= len(images):
        raise BadInput(
            f"neighbours must be less than the number of images, got {k} for {len(images)} "
            f"images; try: --set neighbours={max(1, min(10, len(images) - 1))}"
        )
    features = embed_images(ctx, images, int(ctx.params["size"]))
    order, similarity = nearest(features, k, str(ctx.params["drop_self"]))
    ids = np.asarray(images.ids)
    np.savez(
        ctx.work / "neighbours.npz",
        ids=ids,
        neighbour_ids=ids[order.numpy()],
        similarities=similarity.numpy(),
    )
