"""Generated scenes in the layouts of the sets with boxes,
COCO and PASCAL VOC, and as loose images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import count
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np

from bench.core.files import write_json
from bench.data.layouts.voc_xml import CLASSES as VOC_CLASSES
from bench.data.scenes.classes import CLASSES as SCENE_CLASSES
from bench.data.scenes.layouts import Drawn, draw_scenes, put
from bench.data.scenes.listed import halves, write_lines

SIZE = (192, 144)
# masks are not read as colours
COLOURS = [int(v) for v in np.random.default_rng(7).permutation(768) % 256]
DIFFICULT = 0.008  # share of the image's pixels below which an object is flagged
# where COCO's 17 keypoints of a person lie in its box: an upright figure, seen from the front
FIGURE = (
    (0.50, 0.12),
    (0.54, 0.08),
    (0.46, 0.08),
    (0.60, 0.10),
    (0.40, 0.10),
    (0.70, 0.28),
    (0.30, 0.28),
    (0.80, 0.45),
    (0.20, 0.45),
    (0.85, 0.60),
    (0.15, 0.60),
    (0.62, 0.60),
    (0.38, 0.60),
    (0.64, 0.80),
    (0.36, 0.80),
    (0.65, 0.97),
    (0.35, 0.97),
)


def box_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    """(x1, y1, x2, y2) of a mask (H, W) bool, half open."""
    ys, xs = np.nonzero(mask)
    return int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1


def write_images(root: Path, n_train: int, n_val: int, seed: int = 0) -> None:
    """Images in a folder of their own each ten; the set has no val, so `n_val` makes none."""
    for i, d in enumerate(drawn("train", n_train, seed)):
        put(root / f"{i // 10:03d}" / f"{d.number:06d}.jpg", d.jpeg())


def write_coco(root: Path, n_train: int, n_val: int, seed: int = 0) -> None:
    """COCO 2017 with 20 categories, the first of which is `person` with keypoints."""
    categories = [{"id": i, "name": n} for i, n in enumerate(["person", *SCENE_CLASSES[1:]], 1)]
    for split, n in (("train", n_train), ("val", n_val)):
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for d in drawn(split, n, seed):
            name, (height, width) = f"{d.number:012d}.jpg", d.scene.image.shape[:2]
            put(root / f"{split}2017" / name, d.jpeg())
            images.append({"id": d.number, "file_name": name, "width": width, "height": height})
            annotations += [
                coco_object(d.number, int(label), mask)
                for label, mask in zip(d.scene.labels, d.scene.masks, strict=True)
            ]
        for number, annotation in enumerate(annotations, 1):
            annotation["id"] = number
        persons = [a | _keypoints(a["bbox"]) for a in annotations if a["category_id"] == 1]
        (root / "annotations").mkdir(exist_ok=True)
        for kind, part in (("instances", annotations), ("person_keypoints", persons)):
            table = {"images": images, "annotations": part, "categories": categories}
            write_json(root / "annotations" / f"{kind}_{split}2017.json", table)


def coco_object(image: int, label: int, mask: np.ndarray) -> dict[str, Any]:
    """The annotation of a visible mask (H, W) bool, without its id; categories count from 1."""
    from pycocotools import mask as coco

    rle = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    x1, y1, x2, y2 = box_of(mask)
    return {
        "image_id": image,
        "category_id": label + 1,
        "iscrowd": 0,
        "area": float(mask.sum()),
        "bbox": [float(x1), float(y1), float(x2 - x1), float(y2 - y1)],
        "segmentation": {"size": [int(n) for n in rle["size"]], "counts": rle["counts"].decode()},
    }


def _keypoints(bbox: list[float]) -> dict[str, Any]:
    x, y, width, height = bbox
    points = [v for fx, fy in FIGURE for v in (int(x + fx * width), int(y + fy * height), 2)]
    return {"keypoints": points, "num_keypoints": len(FIGURE)}


def write_voc2007(root: Path, n_train: int, n_val: int, seed: int = 0) -> None:
    """VOC2007: trainval has `n_train` images, test `n_val`."""
    train, test = _sides(n_train, n_val, seed)
    one, other = halves(train)
    _year(root / "VOC2007", "", {"train": one, "val": other, "test": test})


def write_voc2012(root: Path, n_train: int, n_val: int, seed: int = 0) -> None:
    """VOC2012: train has `n_train` images, val `n_val`; all of them have a mask."""
    train, val = _sides(n_train, n_val, seed)
    _year(root / "VOC2012", "2008_", {"train": train, "val": val})


def write_voc0712(root: Path, n_train: int, n_val: int, seed: int = 0) -> None:
    """Both years: half of the `n_train` images is trainval of 2007, the rest trainval of 2012."""
    train, test = _sides(n_train, n_val, seed)
    for year, part in zip(("2007", "2012"), halves(train), strict=True):
        one, other = halves(part)
        groups = {"train": one, "val": other} | ({"test": test} if year == "2007" else {})
        _year(root / f"VOC{year}", "" if year == "2007" else "2008_", groups)


def _year(folder: Path, prefix: str, groups: Mapping[str, list[Drawn]]) -> None:
    """A VOC<year> folder: images, annotations, masks, and the image sets of both kinds."""
    numbers, sets = count(1), {}
    for name, scenes in groups.items():
        sets[name] = [f"{prefix}{next(numbers):06d}" for _ in scenes]
        for d, image in zip(scenes, sets[name], strict=True):
            _voc_image(folder, image, d)
    sets["trainval"] = [*sets["train"], *sets["val"]]
    for name, images in sets.items():
        for kind in ("Main", "Segmentation"):
            write_lines(folder / "ImageSets" / kind / f"{name}.txt", *images)


def _voc_image(folder: Path, name: str, d: Drawn) -> None:
    import cv2

    height, width = d.scene.image.shape[:2]
    objects, indices = [], np.zeros((height, width), np.uint8)
    for label, mask in zip(d.scene.labels, d.scene.masks, strict=True):
        x1, y1, x2, y2 = box_of(mask)
        corners = (x1 + 1, y1 + 1, x2, y2)
        objects.append(object_xml(VOC_CLASSES[label], corners, int(mask.mean() < DIFFICULT)))
        edge = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > mask
        indices[edge & (indices == 0)] = 255  # VOC's outlines are not scored
        indices[mask] = label + 1
    put(folder / "JPEGImages" / f"{name}.jpg", d.jpeg())
    put(
        folder / "Annotations" / f"{name}.xml",
        annotation_xml(name, (width, height), objects).encode(),
    )
    write_mask(folder / "SegmentationClass" / f"{name}.png", indices)


def object_xml(
    name: str, corners: Iterable[float | str], difficult: int | str | None = 0, more: str = ""
) -> str:
    """An `<object>`: corners as VOC writes them,
    `difficult` left out where None, `more` as it is."""
    flag = "" if difficult is None else f"<difficult>{difficult}</difficult>"
    sides = zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
    box = "".join(f"<{side}>{value}</{side}>" for side, value in sides)
    return (
        f"<object><name>{escape(name)}</name><pose>Left</pose><truncated>1</truncated>{flag}{more}"
        f"<bndbox>{box}</bndbox></object>"
    )


def annotation_xml(name: str, size: tuple[int, int], objects: Iterable[str]) -> str:
    """The annotation file of an image; size is (width, height)."""
    width, height = size
    return (
        f"<annotation><folder>x</folder><filename>{name}.jpg</filename><size><width>{width}</width>"
        f"<height>{height}</height><depth>3</depth></size><segmented>0</segmented>"
        f"{''.join(objects)}</annotation>"
    )


def write_mask(file: Path, indices: np.ndarray) -> None:
    """A PNG of palette indices (H, W) uint8."""
    from PIL import Image

    file.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(indices, mode="P")
    image.putpalette(COLOURS)
    image.save(file)


def drawn(split: str, n: int, seed: int) -> Iterable[Drawn]:
    """The first `n` scenes of a split, at the size of sets with boxes."""
    return draw_scenes(split, n, seed, SIZE)


def _sides(n_train: int, n_val: int, seed: int) -> tuple[list[Drawn], list[Drawn]]:
    return list(drawn("train", n_train, seed)), list(drawn("val", n_val, seed))
