"""What a detector finds in images that it was not trained on, beside the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.core.stage import Stage
from bench.figures import _look

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bench.figures._content import Content
    from bench.launch.stored import Selection

VERSION = 1
SOURCE = "detections of a cell"
OPTIONS = ("cell", "image", "data", "count")


def stage(ask: Selection) -> Stage:
    """The cell that `ask` names, by default the newest of a detector."""
    return draw_cell(ask, "predictions", VERSION, least=1)


def draw_cell(ask: Selection, name: str, version: int, least: int = 0) -> Stage:
    """A figure of what the evaluation of a cell left behind, on the images it was scored on."""
    from bench.core.errors import BadInput
    from bench.launch.stored import figures_of

    cell = ask.stage_of_component(name, "task", "evaluate", ask.cell)
    data = ask.data_stage(cell.inputs.get("data"))
    if "data" not in cell.inputs or data.key != cell.inputs["data"].key:
        raise BadInput(
            f"{name} shows the images that {cell} was scored on; try: without --data and files"
        )
    split, ids = ask.choose_images(data, "val", least)
    params = {"images": ids, "split": split, "task": cell.params["task"]}
    return Stage(
        "figure",
        name,
        version,
        params,
        figures_of("task", cell.name)[name],
        {"data": data, "cell": cell},
    )


def draw(content: Content) -> Figure:
    return _look.grid(content)
