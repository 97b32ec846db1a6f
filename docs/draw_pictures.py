"""Draw the page "Crops, methods and tasks in pictures": `python docs/draw_pictures.py`.

It writes docs/pictures.md and docs/pictures/*.png from generated scenes, on a CPU in a minute.
What it says of a component is the first line of its docstring.
"""

from __future__ import annotations

import os
import tempfile
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

import bench
from bench.contracts import registry
from bench.contracts.context import StageContext
from bench.contracts.images import ImageSet
from bench.core.picture import add_title, contact_sheet, draw_boxes
from bench.core.stage import Stage
from bench.data.semantic import single_labels
from bench.launch.local import LocalEngine
from bench.plan.cell import Cell
from bench.plan.planner import Planner

HERE = Path(__file__).parent
PICTURES = HERE / "pictures"
IMAGE = 7  # the scene that most pictures show
FEW = {"scenes.n_train": 48, "scenes.n_val": 8}
# of the network that `coarse` looks through, which so hardly learns anything
SHORT = {"coarse": {"moco_v2.epochs": 2, "moco_v2.batch_size": 8}}
WIDTH = 240  # pixels of a scene
LABELLED = 340  # of one with a line of names above it
TILE = 72  # pixels of a view
COLOURS = 128

CROPS = """# Crops, methods and tasks in pictures

Every picture is of generated scenes, and `python docs/draw_pictures.py` draws this page again. To
see the crops of an image of yours: `bench crops show FILE --crop '*' --out crops.png`; what a
network is shown: `bench.views("byol", "gt", "FILE")`.

## Crops

Where each strategy takes its views from. With pseudo-images each box is a sample, and both views
come from inside it; with pairs the two views come from the two boxes. The network that `coarse`
looks through was trained for seconds here.

"""
METHODS = """## Methods

The views that each method draws of one sample, as its network is shown them: cut out, resized and
augmented.

"""
TASKS = """## Tasks

What a task asks of a backbone, by family. [Protocols](protocols.md) has the settings.

"""
FAMILIES = {
    "_detection": ("Detection", "detection", "A box around every object, with its class; most "
                   "protocols ask for its mask too."),
    "_segmentation": ("Segmentation", "segmentation", "The class of every pixel."),
    "_classification": ("Fine-tuned classification", "classification", "The class of every image, "
                        "by the whole network trained further."),
    "_frozen": ("Frozen features", "classification", "The class of every image, by nearest "
                "neighbours, a linear classifier or a support vector machine on features that "
                "are not trained further."),
    "": ("Retrieval of objects", "retrieval", "The objects that look most alike, of all objects "
         "cut out by their boxes."),
}  # fmt: off


OTHERS = {"object_knn": "", "voc07_finetune": "_classification"}  # tasks with bases of their own


@contextmanager
def quiet_home() -> Iterator[None]:
    """A BENCH_HOME for the while."""
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {"BENCH_HOME": home, "BENCH_TRACKER": "none"}
        yield


def save(name: str, picture: np.ndarray) -> str:
    """Write a PNG of few colours; returns its place as the page has it."""
    PICTURES.mkdir(exist_ok=True)
    small = Image.fromarray(picture).quantize(
        COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
    )
    small.save(PICTURES / f"{name}.png", optimize=True)
    return f"pictures/{name}.png"


def summary(kind: str, name: str) -> str:
    return wrap(registry.entry(kind, name).summary)


def wrap(text: str, indent: str = "") -> str:
    """Lines of up to 99 characters."""
    return textwrap.fill(text, 99, subsequent_indent=indent, break_on_hyphens=False)


def draw_crops(engine: LocalEngine) -> str:
    from bench.figures.crop_panels import picture

    text = CROPS
    for name in registry.names("crop"):
        settings = {**FEW, **SHORT.get(name, {})}
        pairs = tuple((k, str(v)) for k, v in settings.items())
        cell = Cell("", name, "", "scenes", "scenes", "tiny", 0, pairs)
        drawn, _ = picture([cell], engine.runtime, {"scenes": None}, engine, str(IMAGE), WIDTH)
        place = save(f"crop-{name}", drawn[18:])  # without the name above it
        text += f"### {name}\n\n{summary('crop', name)}\n\n![Boxes of {name}]({place})\n\n"
    return text


def draw_methods() -> str:
    text = METHODS
    for name in registry.names("method"):
        text += f"### {name}\n\n{summary('method', name)}\n\n"
        if not registry.load("method", name).trains:  # type: ignore[attr-defined]
            text += "It is shown nothing.\n\n"
            continue
        crop = "gt" if name == "supervised" else "image"
        seen = bench.views(name, crop, [IMAGE], set=FEW, workers=0, progress=False)
        tiles = [cv2.resize(v.pixels, (TILE, TILE), interpolation=cv2.INTER_AREA) for v in seen]
        rows = [tiles[at : at + 8] for at in range(0, len(tiles), 8)]
        place = save(f"views-{name}", contact_sheet(rows))
        roles = ", ".join(dict.fromkeys(f"`{v.role}`" for v in seen))
        text += f"![Views of {name}]({place})\n\nRoles: {roles}.\n\n"
    return text


def draw_tasks(images: ImageSet) -> str:
    members: dict[str, list[str]] = {family: [] for family in FAMILIES}
    for name in registry.names("task"):
        places = [c.__module__ for c in registry.load("task", name).__mro__]  # type: ignore[attr-defined]
        families = [f for f in FAMILIES if f and any(p.startswith(f"tasks.{f}") for p in places)]
        members[OTHERS.get(name, families[0] if families else "_frozen")].append(name)
    pictures = {
        "detection": draw_detection(images),
        "segmentation": draw_segmentation(images),
        "classification": draw_classification(images),
        "retrieval": draw_retrieval(images),
    }
    places = {name: save(f"task-{name}", drawn) for name, drawn in pictures.items()}
    text = TASKS
    for family, (title, drawn, about) in FAMILIES.items():
        text += f"### {title}\n\n{wrap(about)}\n\n![{title}]({places[drawn]})\n\n"
        for name in members[family]:
            text += wrap(f"- `{name}`: {registry.entry('task', name).summary}", "  ") + "\n"
        text += "\n"
    return text


def shrink(picture: np.ndarray, width: int = WIDTH) -> tuple[np.ndarray, float]:
    """The picture `width` pixels wide, and the factor."""
    factor = width / picture.shape[1]
    size = (width, round(picture.shape[0] * factor))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA), factor


def draw_detection(images: ImageSet) -> np.ndarray:
    panels = []
    for index in (IMAGE - 1, IMAGE):
        objects = images.objects(index)
        photo, factor = shrink(images.image(index), LABELLED)
        names = ", ".join(images.classes[int(label)] for label in objects.labels)
        panels.append(add_title(draw_boxes(photo, objects.boxes * factor, width=2), names))
    return contact_sheet([panels], gap=6)


def draw_segmentation(images: ImageSet) -> np.ndarray:
    from bench.core.picture import PALETTE
    from tasks._detection.targets import decode_mask

    photo = images.image(IMAGE)
    height, width = photo.shape[:2]
    objects, painted = images.objects(IMAGE), np.full_like(photo, 255)
    for label, shape in zip(objects.labels, objects.segmentations or (), strict=True):
        painted[decode_mask(shape, height, width).astype(bool)] = PALETTE[
            int(label) % len(PALETTE)
        ]
    return contact_sheet([[shrink(photo)[0], shrink(painted)[0]]], gap=6)


def draw_classification(images: ImageSet) -> np.ndarray:
    labels, panels = single_labels(images), []
    for index in range(4):
        photo, _ = shrink(images.image(index), WIDTH // 2)
        panels.append(add_title(photo, images.classes[int(labels[index])]))
    return contact_sheet([panels], gap=6)


def draw_retrieval(images: ImageSet) -> np.ndarray:
    """Four objects of the first one's class, cut out."""
    tiles: list[np.ndarray] = []
    wanted = int(images.objects(IMAGE).labels[0])
    for index in (IMAGE, *(i for i in range(len(images)) if i != IMAGE)):
        objects = images.objects(index)
        for box in objects.boxes[objects.labels == wanted][:1]:
            x1, y1, x2, y2 = (round(float(v)) for v in box)
            cut = images.image(index)[y1:y2, x1:x2]
            tiles.append(cv2.resize(cut, (TILE, TILE), interpolation=cv2.INTER_AREA))
    return contact_sheet([tiles[:5]], gap=6)


def open_scenes(engine: LocalEngine, settings: Mapping[str, object]) -> ImageSet:
    pairs = tuple((k, str(v)) for k, v in settings.items())
    cell = Cell("", "", "", "scenes", "scenes", "tiny", 0, pairs)
    data = Planner(cell, engine.runtime, {}).data("scenes")
    folder = engine.ensure(data)
    stage = Stage("picture", "picture", 1, {}, "", {"data": data})
    return StageContext(stage, Path(), {"data": folder}, engine.runtime).images("data", "train")


def main() -> None:
    from bench.api.request import make_runtime, open_progress
    from bench.launch.session import open_engine

    with quiet_home():
        runtime = make_runtime({"workers": 0, "devices": "cpu"})
        with open_engine(runtime, open_progress(False)) as (engine, _):
            crops = draw_crops(engine)
            tasks = draw_tasks(open_scenes(engine, FEW))
        text = crops + draw_methods() + tasks
    (HERE / "pictures.md").write_text(text.rstrip() + "\n")


if __name__ == "__main__":
    main()
