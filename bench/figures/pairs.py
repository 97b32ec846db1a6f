"""Corresponding regions of neighbour images, as a method found them for its training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.core.stage import Stage
from bench.figures import _look

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bench.figures._content import Content
    from bench.launch.stored import Selection

VERSION = 1
SOURCE = "paper 002, Fig. 3"
OPTIONS = ("backbone", "image", "data", "count")


def stage(ask: Selection) -> Stage:
    """The pretraining that `ask` names, by default the newest of a method that has
    correspondences."""
    return draw_pretraining(ask, "pairs", VERSION)


def draw_pretraining(ask: Selection, name: str, version: int) -> Stage:
    """A figure of what a method prepared before it trained: its inputs and settings are the
    pretraining's."""
    from bench.core.errors import BadInput
    from bench.launch.stored import figures_of

    source = ask.stage_of_component(name, "method", "pretrain", "".join(ask.backbones[:1]))
    data = ask.data_stage(source.inputs.get("data"))
    if "data" not in source.inputs or data.key != source.inputs["data"].key:
        raise BadInput(
            f"{name} shows the images that {source} learned from; try: without --data and files"
        )
    split, ids = ask.choose_images(data, str(source.params["split"]))
    params = {"images": ids, "split": split, "method": source.params["method"], "seed": 0}
    inputs = {role: s for role, s in source.inputs.items() if role != "data"}
    return Stage(
        "figure",
        name,
        version,
        params,
        figures_of("method", source.name)[name],
        {"data": data, **inputs},
    )


def draw(content: Content) -> Figure:
    return _look.grid(content)
