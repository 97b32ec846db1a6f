"""Where every strategy crops one image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.core.stage import Stage
from bench.figures import _look
from bench.figures._content import panel, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bench.contracts.context import StageContext
    from bench.figures._content import Content
    from bench.launch.stored import Selection

VERSION = 1
SOURCE = "paper 000, Fig. 1 and 4"
OPTIONS = ("crop", "image", "data", "scale", "set")
COLUMNS, MOST_COLUMNS = 4, 6


def stage(ask: Selection) -> Stage:
    """The crops of --crop on one image; what a crop needs (proposals, networks) is made. Crops
    that cannot be made for this image are left out, and said to be."""
    from bench.core.errors import BadInput, BenchError
    from bench.figures.crop_panels import plan_stages, prepare_images
    from bench.plan.cell import Cell
    from bench.plan.options import default_data, match, parse_data

    name, path, _, named = parse_data(ask.data or default_data(ask.scale))
    assert name is not None
    settings = (*named, *ask.sets)
    given = ask.images[0] if ask.images else _first(ask, name, path, settings)
    if len(ask.images) > 1:
        raise BadInput(f"crops shows one image, got {len(ask.images)}; try: --image {given}")
    image = Path(given) if Path(given).is_file() else given
    names = match("crop", ask.crop, ask.engine.progress.note)
    cells = [Cell("", c, "", name, name, ask.scale, 0, settings) for c in names]
    crops: list[Mapping[str, Any]] = []
    inputs: dict[str, Stage] = {}
    reasons, shown = {}, 0
    for cell, stages in plan_stages(cells, ask.engine.runtime, {name: path}, image):
        try:
            images, at = prepare_images(stages, ask.engine.runtime, ask.engine, image)
        except BenchError as error:
            reasons[cell.crop] = str(error)
            continue
        inputs["data"], shown = stages["data"], int(images.ids[at])
        inputs |= {
            f"{len(crops)}.{role}": s for role, s in stages.items() if role not in ("", "data")
        }
        crops.append(stages[""].params["crop"])
    for crop, reason in reasons.items():
        ask.engine.progress.note(f"left out: {crop}: {reason}")
    if not crops:
        raise BadInput(next(iter(reasons.values())))
    params = {"crops": crops, "image": shown, "split": "train"}
    return Stage("figure", "crops", VERSION, params, "bench.figures.crops:run", inputs)


def _first(
    ask: Selection, name: str, path: Path | None, settings: tuple[tuple[str, str], ...]
) -> str:
    """The image of the data with most objects among the first hundred."""
    from bench.core.errors import BadData
    from bench.plan.cell import Cell
    from bench.plan.planner import Planner

    cell = Cell("", "", "", name, name, ask.scale, 0, settings)
    data = Planner(cell, ask.engine.runtime, {name: path}).data(name)
    ask.engine.ensure(data)
    images = ask.open_split(data, "train")
    try:
        counts = [len(images.objects(i).boxes) for i in range(min(100, len(images)))]
    except BadData:
        counts = [0]
    return str(int(images.ids[counts.index(max(counts))]))


def run(ctx: StageContext) -> None:
    """A panel for each crop: the image with the boxes of one epoch (seed 0)."""
    from bench.contracts.images import positions
    from bench.figures.crop_panels import boxes_of
    from bench.stages.pretrain.setup import build_crop

    images = ctx.images("data", str(ctx.params["split"]))
    (at,) = positions(images, [int(ctx.params["image"])])
    photo, panels = images.image(at), []
    for i, identity in enumerate(ctx.params["crops"]):
        crop = build_crop(identity).with_every_region()
        mine = {r.partition(".")[2]: f for r, f in ctx.inputs.items() if r.startswith(f"{i}.")}
        boxes = boxes_of(crop.sampler(images, {"data": ctx.inputs["data"], **mine}), images, at)
        panels.append(panel(photo, f"{crop.name} ({len(boxes)})", boxes))
    title = f"{ctx.stage.inputs['data'].name}, image {images.ids[at]}"
    save(
        ctx.work,
        {
            "rows": [panels],
            "columns": [],
            "title": title,
            "below": "Boxes of one epoch; their number.",
        },
    )


def draw(content: Content) -> Figure:
    """All panels, in rows without empty places."""
    panels = [panel for row in content["rows"] for panel in row]
    rows = _look.balance(panels, COLUMNS, MOST_COLUMNS)
    return _look.grid({**content, "rows": rows, "centred": True})
