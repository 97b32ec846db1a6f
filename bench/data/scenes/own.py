"""Generated scenes in the layouts that tools for people's own data write: Roboflow's COCO, YOLO
with a data.yaml, VOC without a year's folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.core.files import write_json
from bench.data.scenes.boxes import annotation_xml, box_of, coco_object, drawn, object_xml
from bench.data.scenes.classes import CLASSES
from bench.data.scenes.layouts import put
from bench.data.scenes.listed import write_lines


def write_coco_json(root: Path, n_train: int, n_val: int, seed: int = 0) -> None:
    """A folder for each split, train and valid, with its images and `_annotations.coco.json`."""
    categories = [{"id": i, "name": name} for i, name in enumerate(CLASSES, 1)]
    for split, folder, n in (("train", "train", n_train), ("val", "valid", n_val)):
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number, d in enumerate(drawn(split, n, seed)):
            name, (height, width) = f"scene-{d.number}.jpg", d.scene.image.shape[:2]
            put(root / folder / name, d.jpeg())
            images.append({"id": number, "file_name": name, "width": width, "height": height})
            annotations += [
                coco_object(number, int(label), mask)
                for label, mask in zip(d.scene.labels, d.scene.masks, strict=True)
            ]
        for number, annotation in enumerate(annotations):
            annotation["id"] = number
        table = {"images": images, "annotations": annotations, "categories": categories}
        write_json(root / folder / "_annotations.coco.json", table)


def write_yolo(root: Path, n_train: int, n_val: int, seed: int = 0) -> None:
    """`data.yaml`, and images/ and labels/ with a folder for each split."""
    for split, n in (("train", n_train), ("val", n_val)):
        for d in drawn(split, n, seed):
            height, width = d.scene.image.shape[:2]
            put(root / "images" / split / f"scene-{d.number}.jpg", d.jpeg())
            lines = []
            for label, mask in zip(d.scene.labels, d.scene.masks, strict=True):
                x1, y1, x2, y2 = box_of(mask)
                centre = (x1 + x2) / 2 / width, (y1 + y2) / 2 / height
                sides = (x2 - x1) / width, (y2 - y1) / height
                lines.append(f"{label} {' '.join(f'{v:.8f}' for v in centre + sides)}")
            write_lines(root / "labels" / split / f"scene-{d.number}.txt", *lines)
    names = "".join(f"  {i}: {json.dumps(name)}\n" for i, name in enumerate(CLASSES))
    put(root / "data.yaml", f"train: images/train\nval: images/val\nnames:\n{names}".encode())


def write_voc_layout(root: Path, n_train: int, n_val: int, seed: int = 0) -> None:
    """Annotations/, JPEGImages/ and ImageSets/Main/ with the lists train and val."""
    for split, n in (("train", n_train), ("val", n_val)):
        names = []
        for d in drawn(split, n, seed):
            name, (height, width) = f"scene-{d.number}", d.scene.image.shape[:2]
            names.append(name)
            objects = []
            for label, mask in zip(d.scene.labels, d.scene.masks, strict=True):
                x1, y1, x2, y2 = box_of(mask)
                objects.append(object_xml(CLASSES[label], (x1 + 1, y1 + 1, x2, y2)))
            put(root / "JPEGImages" / f"{name}.jpg", d.jpeg())
            xml = annotation_xml(name, (width, height), objects)
            put(root / "Annotations" / f"{name}.xml", xml.encode())
        write_lines(root / "ImageSets" / "Main" / f"{split}.txt", *names)
