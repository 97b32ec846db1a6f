"""Turned, grey, CMYK and palette files: every generator's boxes lie in the frame in which training
reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bench.core.params import Runtime
from bench.core.store import Store
from bench.data.boxes import iou
from bench.launch.local import LocalEngine
from bench.plan.cell import Cell
from bench.plan.planner import Planner
from bench.stages.proposals import load_proposals
from bench.views.loader import crop_resize
from tests.core.test_store import Heard

# right of the middle: only one orientation puts it there
SIZE, OBJECT = (160, 96), (96, 24, 152, 80)
TURNS = {  # EXIF orientation -> what a viewer does to the stored pixels
    1: None,
    3: Image.Transpose.ROTATE_180,
    6: Image.Transpose.ROTATE_270,
    8: Image.Transpose.ROTATE_90,
}
MODES = ("L", "CMYK", "P", "RGBA")


def scene() -> Image.Image:
    """Stripes of grey in a rectangle on a dark ground: an object for gradients, segments and
    activations."""
    pixels = np.full((SIZE[1], SIZE[0], 3), 24, np.uint8)
    x1, y1, x2, y2 = OBJECT
    pixels[y1:y2, x1:x2] = 230
    pixels[y1 + 12 : y2 - 12 : 8, x1 + 12 : x2 - 12] = 190
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A COCO folder whose files differ in how they store one upright scene; annotated upright."""
    root = tmp_path_factory.mktemp("frames")
    for name in ("train2017", "val2017", "annotations"):
        (root / name).mkdir()
    files: list[str] = []
    for orientation, turn in TURNS.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        undo = {
            None: None,
            Image.Transpose.ROTATE_180: Image.Transpose.ROTATE_180,
            Image.Transpose.ROTATE_270: Image.Transpose.ROTATE_90,
            Image.Transpose.ROTATE_90: Image.Transpose.ROTATE_270,
        }[turn]
        stored = scene() if undo is None else scene().transpose(undo)
        files.append(f"turned{orientation}.jpg")
        stored.save(root / "train2017" / files[-1], exif=exif, quality=95)
    for mode in MODES:
        made = scene().quantize(8) if mode == "P" else scene().convert(mode)
        files.append(f"{mode}.{'jpg' if mode in ('L', 'CMYK') else 'png'}")
        made.save(root / "train2017" / files[-1])
    scene().save(root / "val2017" / "val.jpg")
    x1, y1, x2, y2 = OBJECT

    def content(names: list[str]) -> dict[str, Any]:
        box = [x1, y1, x2 - x1, y2 - y1]
        corners = [x1, y1, x2, y1, x2, y2, x1, y2]
        size = {"width": SIZE[0], "height": SIZE[1]}
        return {
            "images": [{"id": i + 1, "file_name": n, **size} for i, n in enumerate(names)],
            "annotations": [
                {
                    "id": i + 1,
                    "image_id": i + 1,
                    "category_id": 1,
                    "iscrowd": 0,
                    "bbox": box,
                    "area": box[2] * box[3],
                    "segmentation": [corners],
                }
                for i in range(len(names))
            ],
            "categories": [{"id": 1, "name": "thing"}],
        }

    for split, names in (("train2017", files), ("val2017", ["val.jpg"])):
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content(names)))
    return root


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("frames") / "home"


def centre(boxes: np.ndarray) -> np.ndarray:
    """Of the best box, (2,)."""
    return (boxes[0, :2] + boxes[0, 2:]) / 2


SETTINGS = {
    "selective_search": (),
    "edge_boxes": (),
    "ground_truth": (),
    "random_boxes": (),
    "bing": (("bing.train_on", "data"),),
    "anchors_scda": (("anchors_scda.phi", "random_init"), ("random_init.image_size", "32")),
}


@pytest.mark.parametrize("name", list(SETTINGS))
def test_boxes_are_in_the_frame_of_the_pixels(name: str, dataset: Path, store: Path) -> None:
    runtime = Runtime(home=store, database="sqlite://", workers=0, tracker="none", devices="cpu")
    cell = Cell("byol", "image", "coco_det", "coco", "coco", "tiny", 0, SETTINGS[name])
    planner = Planner(cell, runtime, {"coco": dataset})
    data = planner.data("coco")
    stage = planner.proposals(name, data)
    engine = LocalEngine(runtime, Store(store), Heard())
    table = load_proposals(engine.ensure(stage))
    from bench.contracts import registry

    coco: Any = registry.load("data", "coco").from_identity(dict(data.params["params"]))
    images = coco.load(engine.store.folder(data), dataset, "train")
    assert len(images) == len(TURNS) + len(MODES)
    reference = table.boxes(1)
    for index in range(len(images)):
        file, pixels = images.file(index).name, images.image(index)
        assert pixels.shape == (SIZE[1], SIZE[0], 3), file
        # what training crops from
        assert np.abs(pixels.astype(int) - np.asarray(scene())).mean() < 12, file
        boxes = table.boxes(int(images.ids[index]))
        assert boxes.min() >= 0, file
        assert (boxes[:, 2:] <= SIZE).all(), file
        # an untrained network's, so not on the object, but in one place
        if name == "anchors_scda":
            assert np.abs(centre(boxes) - centre(reference)).max() < 16, file
            assert np.abs(SIZE - centre(boxes) - centre(reference)).max() > 32, file
        elif name != "random_boxes":  # those are drawn by image id: nothing to find
            overlap = iou(boxes.astype(float), np.array([OBJECT], float))[:, 0]
            assert overlap.max() > 0.7, file
            x1, y1, x2, y2 = map(int, boxes[overlap.argmax()])
            assert float(crop_resize(pixels, (x1, y1, x2, y2), 8).float().mean()) > 150, file
    if name == "ground_truth":
        assert reference.tolist() == [list(map(float, OBJECT))]
