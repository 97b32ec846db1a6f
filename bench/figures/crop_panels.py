"""One picture of every strategy's crops of one image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from bench.contracts import registry
from bench.contracts.images import ImageSet
from bench.contracts.views import Sampler
from bench.core.errors import BadInput, BenchError
from bench.core.params import Runtime
from bench.core.picture import add_title, contact_sheet, draw_boxes
from bench.core.seeds import rng_for
from bench.core.stage import Stage
from bench.launch.local import LocalEngine
from bench.plan.cell import Cell
from bench.plan.planner import Planner, plan_each
from bench.stages.crop_stats import draw_region
from bench.stages.pretrain.setup import build_crop

COLUMNS = 4


def picture(
    cells: Sequence[Cell],
    runtime: Runtime,
    paths: Mapping[str, Path | None],
    engine: LocalEngine,
    image: Path | str,
    width: int = 360,
) -> tuple[np.ndarray, dict[str, str]]:
    """(H, W, 3) uint8: a panel per crop with its boxes, and the crops left out with the reason.

    image: a file, whose networks learn from the cells' data, or an image id of that data.
    """
    panels: list[np.ndarray] = []
    left_out: dict[str, str] = {}
    for cell, stages in plan_stages(cells, runtime, paths, image):
        try:
            images, index = prepare_images(stages, runtime, engine, image)
            panels += _panels(cell, stages, images, index, engine, width)
        except BenchError as error:
            left_out[cell.crop] = str(error)
    if not panels:
        raise BadInput(next(iter(left_out.values())))
    rows = [panels[i : i + COLUMNS] for i in range(0, len(panels), COLUMNS)]
    return contact_sheet(rows, gap=6), left_out


def plan_stages(
    cells: Sequence[Cell], runtime: Runtime, paths: Mapping[str, Path | None], image: Path | str
) -> list[tuple[Cell, dict[str, Stage]]]:
    """Every crop's stages by role, its data, and under "" its identity; `image` is a file or an
    id."""
    places = dict(paths)
    if isinstance(image, Path):
        places["images"] = image.absolute()

    def stages(planner: Planner) -> dict[str, Stage]:
        cell = planner.cell
        if isinstance(image, Path):
            planner.learn_from = planner.data(cell.data)
        data = planner.data("images" if isinstance(image, Path) else cell.data)
        crop = planner.component("crop", cell.crop, main=True)
        marker = Stage("crop", cell.crop, 1, {"crop": crop.identity()}, "")
        return {"": marker, "data": data, **crop.stages(planner, data)}

    return plan_each(cells, runtime, places, stages)


def prepare_images(
    stages: dict[str, Stage], runtime: Runtime, engine: LocalEngine, image: Path | str
) -> tuple[ImageSet, int]:
    """Where the image is; the crop's stages are made."""
    data = stages["data"]
    engine.ensure(data)
    maker = registry.load("data", data.name).from_identity(dict(data.params["params"]))
    images = maker.load(engine.store.folder(data), runtime.roots[data.key], "train")  # type: ignore[attr-defined]
    # a wrong id waits for no training
    at = 0 if isinstance(image, Path) else _position(images, image)
    for role, stage in stages.items():
        if role:
            engine.ensure(stage)
    return images, at


def _position(images: ImageSet, wanted: str) -> int:
    hits = np.flatnonzero(images.ids == (int(wanted) if wanted.isdigit() else -1))
    if len(hits) == 0:
        some = ", ".join(str(i) for i in images.ids[:3])
        raise BadInput(
            f"no file and no image id of {images.name}: {wanted!r}; ids are like {some}; "
            f"try: bench crops show {images.ids[0]}"
        )
    return int(hits[0])


def _panels(
    cell: Cell,
    stages: dict[str, Stage],
    images: ImageSet,
    index: int,
    engine: LocalEngine,
    width: int,
) -> list[np.ndarray]:
    crop = build_crop(stages[""].params["crop"]).with_every_region()
    inputs = {role: stage for role, stage in stages.items() if role}
    sampler = crop.sampler(images, {role: engine.store.folder(s) for role, s in inputs.items()})
    photo = images.image(index)
    boxes = boxes_of(sampler, images, index)
    panels = [_panel(photo, cell.crop if len(boxes) else f"{cell.crop}: none", boxes, width)]
    for name, extra in crop.inspect(images, index, inputs, engine.store.folder).items():
        panels.append(_panel(extra, f"{cell.crop}: {name}", np.zeros((0, 4)), width))
    return panels


def boxes_of(sampler: Sampler, images: ImageSet, index: int) -> np.ndarray:
    """(n, 4) xyxy of what a strategy crops from image `index` in one epoch (seed 0)."""
    width, height = (int(v) for v in images.sizes[index])
    boxes: dict[tuple[float, ...], None] = {}
    for at in range(len(sampler)):
        rng = rng_for(0, "crop stats", at)
        sources = sampler.sources(at, rng)
        if sources[0].image == index:
            boxes |= dict.fromkeys(draw_region(s, width, height, rng) for s in sources)
    return np.array(list(boxes), np.float64).reshape(-1, 4)


def _panel(photo: np.ndarray, title: str, boxes: np.ndarray, width: int) -> np.ndarray:
    factor = width / photo.shape[1]
    size = (width, max(1, round(photo.shape[0] * factor)))
    shown = cv2.resize(
        photo, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    )
    return add_title(draw_boxes(shown, boxes * factor, width=2), title)
