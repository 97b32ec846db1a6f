"""COCO 2017 in its official layout: boxes, masks, crowds, keypoints."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bench.contracts.context import StageContext
from bench.contracts.data import Data, HowToGet, WriteSample
from bench.contracts.images import ImageSet
from bench.core.errors import BadData
from bench.core.files import write_json
from bench.core.image import read_rgb
from bench.core.params import Runtime
from bench.core.stage import Stage
from bench.data.files import check_once, fingerprint, read_json
from bench.data.index import IndexedImages, Row, write_index
from bench.data.runner import read_splits

FOLDERS = {"train": "train2017", "val": "val2017"}
KEYPOINTS = (
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
)
FIELDS = {
    "images": {"id", "file_name", "width", "height"},
    "annotations": {"id", "image_id", "category_id", "bbox"},
    "categories": {"id", "name"},
}


class Coco(Data):
    """COCO 2017 (Lin et al. 2014): `train2017/`, `val2017/`, `annotations/instances_*.json`.

    Splits: train (118,287 images) and val (5,000). Labels are contiguous, 0..79, in ascending
    category id. Repairs, counted in `report.json`: boxes are clipped to the image, annotations
    whose box is then narrower or lower than 0.01 pixel are dropped (official train2017 has some of
    zero height).
    """

    how_to_get = HowToGet(
        files={"train2017.zip": 18_000, "val2017.zip": 1000, "annotations_trainval2017.zip": 241},
        site="cocodataset.org",
        layout="unpacked into one folder: train2017/, val2017/, annotations/",
    )
    official = {"train": 118_287, "val": 5000}
    scored_as_written = True

    @classmethod
    def annotations(cls) -> frozenset[str]:
        return frozenset({"objects", "masks", "keypoints"})

    @classmethod
    def sample(cls) -> WriteSample:
        from bench.data.scenes.boxes import write_coco

        return write_coco

    def stage(self, root: Path | None, runtime: Runtime) -> Stage:
        root = self.place(root)
        if not root.is_dir():
            raise BadData(
                f"no COCO folder at {root}; get {self.how_to_get}; then: --data coco=PATH"
            )
        splits = self._splits(root)
        files = [_annotations(root, split) for split in splits]
        points = [root / "annotations" / f"person_keypoints_{FOLDERS[s]}.json" for s in splits]
        listings = [root / FOLDERS[split] for split in splits]
        mark = fingerprint(
            [*files, *(p for p in points if p.is_file())], listings, runtime.home / "cache"
        )
        check_once(mark, runtime.home / "cache", lambda: self._check(root, splits))
        return self.make_stage(root, runtime, fingerprint=mark)

    def _splits(self, root: Path) -> list[str]:
        """The splits that are there, train must be;
        each has its image folder and its annotations."""
        splits = [s for s in FOLDERS if s == "train" or (root / FOLDERS[s]).is_dir()]
        for split in splits:
            name, file = FOLDERS[split], _annotations(root, split)
            if not (root / name).is_dir():
                raise BadData(
                    f"COCO at {root} has no folder {name}/; get {self.how_to_get}; "
                    "then: --data coco=PATH"
                )
            if not file.is_file():
                raise BadData(f"COCO {split} annotations are missing: {file}; download them again")
        return splits

    def _check(self, root: Path, splits: list[str]) -> None:
        """Annotations are read and every file is looked for, once per fingerprint: it covers the
        content of the first and the names of the second, and official train annotations take long
        to parse."""
        for split in splits:
            file, folder = _annotations(root, split), root / FOLDERS[split]
            names = [i["file_name"] for i in _load(root, split)["images"]]
            if not names:
                raise BadData(
                    f"COCO split {split} is empty: no images in {file}; download it again"
                )
            with os.scandir(folder) as entries:
                there = {e.name for e in entries}
            missing = [n for n in names if n not in there]
            if missing:
                raise BadData(
                    f"COCO {folder.name}/ lacks {len(missing)} of {len(names)} images, the first "
                    f"is {missing[0]}; unpack {folder.name}.zip again"
                )

    def run(self, ctx: StageContext) -> None:
        root = ctx.runtime.roots[ctx.stage.key]
        report: dict[str, Any] = {}
        contents = {split: _load(root, split) for split in self._splits(root)}
        images = {
            s: [(root / FOLDERS[s], i) for i in content["images"]]
            for s, content in contents.items()
        }
        sizes = {
            split: dict(decoded)
            for split, decoded in read_splits(ctx, _decode, images, 16).items()
        }
        for split, content in contents.items():
            report[split] = index_coco(
                ctx.work / split, content, sizes[split], _keypoints(root, split)
            )
            repaired = report[split]["clipped"] + report[split]["dropped"]
            if repaired:
                ctx.progress.note(
                    f"coco {split}: {report[split]['clipped']} boxes clipped to their image, "
                    f"{report[split]['dropped']} empty ones dropped"
                )
        write_json(ctx.work / "report.json", report)

    def open_split(self, index: Path, root: Path, split: str) -> ImageSet:
        return IndexedImages(self.name, split, index, root / FOLDERS[split], KEYPOINTS)

    def read_annotations(self, root: Path, split: str) -> dict[str, Any]:
        """What is no box in any reading, because a number of it is not finite, is left out."""
        content, points = _load(root, split), _persons(root, split)
        categories = sorted(content["categories"], key=lambda c: c["id"])
        label = {c["id"]: i for i, c in enumerate(categories, 1)}
        annotations: list[dict[str, Any]] = []
        for given in content["annotations"]:
            if np.isfinite(np.array(given["bbox"], np.float64)).all():
                one = _written(given, label[given["category_id"]], len(annotations) + 1)
                annotations.append({**one, **points.get(given["id"], {})} if points else one)
        names = ("id", "width", "height", "file_name")
        return {
            "images": [{name: image[name] for name in names} for image in content["images"]],
            "annotations": annotations,
            "categories": [{"id": label[c["id"]], "name": c["name"]} for c in categories],
            "info": {},
        }


def _annotations(root: Path, split: str) -> Path:
    return root / "annotations" / f"instances_{FOLDERS[split]}.json"


def _load(root: Path, split: str) -> dict[str, Any]:
    file = _annotations(root, split)
    content = read_json(file, f"COCO {split} annotations")
    if not isinstance(content, dict) or not set(FIELDS) <= set(content):
        raise BadData(
            f"{file} is not a COCO instances file: it lacks images, annotations or categories"
        )
    for name, fields in FIELDS.items():
        _check_entries(file, name, content[name], fields)
    return content


def _check_entries(file: Path, name: str, entries: Any, fields: set[str]) -> None:
    """BadData unless `entries` is a list of dicts with the fields,
    no id twice, boxes of four numbers."""
    again = "download the annotations again"
    if not isinstance(entries, list) or not all(isinstance(item, dict) for item in entries):
        raise BadData(f"{file}: {name} is not a list of entries; {again}")
    for item in entries:
        if not fields <= item.keys():
            lacks = ", ".join(sorted(fields - item.keys()))
            raise BadData(f"{file}: an entry of {name} lacks {lacks}; {again}")
        box = item.get("bbox", (0, 0, 0, 0))
        numbers = isinstance(box, list | tuple) and all(isinstance(v, int | float) for v in box)
        if not numbers or len(box) != 4:
            raise BadData(
                f"{file}: annotation {item['id']} has no box of four numbers but {box!r}; {again}"
            )
    if len({item["id"] for item in entries}) < len(entries):
        raise BadData(f"{file}: {name} list an id twice; {again}")


def _keypoints(root: Path, split: str) -> dict[int, list[float]] | None:
    persons = _persons(root, split)
    return None if persons is None else {i: one["keypoints"] for i, one in persons.items()}


def _persons(root: Path, split: str) -> dict[int, dict[str, Any]] | None:
    """keypoints and num_keypoints by annotation id; None without a file of them."""
    file = root / "annotations" / f"person_keypoints_{FOLDERS[split]}.json"
    if not file.is_file():
        return None
    content = read_json(file, "COCO keypoints")
    return {
        a["id"]: {
            "keypoints": a["keypoints"],
            "num_keypoints": a.get("num_keypoints", sum(v > 0 for v in a["keypoints"][2::3])),
        }
        for a in content["annotations"]
    }


def _written(annotation: dict[str, Any], category: int, number: int) -> dict[str, Any]:
    """An annotation as the official tool reads it, under another category and number."""
    x, y, width, height = annotation["bbox"]
    return {
        "id": number,
        "image_id": annotation["image_id"],
        "category_id": category,
        "bbox": [x, y, width, height],
        "area": float(annotation.get("area", width * height)),
        "iscrowd": int(annotation.get("iscrowd", 0)),
        "segmentation": annotation.get("segmentation", []),
    }


def _decode(listed: tuple[Path, dict[str, Any]]) -> tuple[int, tuple[int, int]] | str:
    """(id, size) of an image that decodes to the size of its annotations;
    or what is wrong, one line."""
    folder, image = listed
    try:
        height, width = read_rgb(folder / image["file_name"]).shape[:2]
    except BadData as error:
        return str(error)
    if (width, height) != (image["width"], image["height"]):
        return (
            f"image {folder / image['file_name']} is {width}x{height} but its annotations say "
            f"{image['width']}x{image['height']}; download it again"
        )
    return image["id"], (width, height)


def index_coco(
    folder: Path,
    content: dict[str, Any],
    sizes: dict[int, tuple[int, int]],
    points: dict[int, list[float]] | None = None,
) -> dict[str, int]:
    """Write the index of a COCO instances dict;
    returns counts (images, objects, clipped, dropped)."""
    categories = sorted(content["categories"], key=lambda c: c["id"])
    label = {c["id"]: i for i, c in enumerate(categories)}
    rows = {i["id"]: Row(i["id"], i["file_name"], sizes[i["id"]]) for i in content["images"]}
    counts = {"images": len(rows), "objects": 0, "clipped": 0, "dropped": 0}
    # by id, so that the index does not depend on the order of the file
    for annotation in sorted(content["annotations"], key=lambda a: a["id"]):
        if annotation["image_id"] not in rows or annotation["category_id"] not in label:
            raise BadData(
                f"COCO annotation {annotation['id']} names image {annotation['image_id']} "
                f"and category {annotation['category_id']}, one of which does not exist; "
                "download the annotations again"
            )
        row = rows[annotation["image_id"]]
        for record in _annotation(annotation, row.size, counts):
            record["label"] = label[annotation["category_id"]]
            record["keypoints"] = points.get(annotation["id"]) if points else None
            row.annotations.append(record)
    write_index(folder, [c["name"] for c in categories], rows.values())
    return counts


def _annotation(
    annotation: dict[str, Any], size: tuple[int, int], counts: dict[str, int]
) -> Iterator[dict[str, Any]]:
    x, y, width, height = map(float, annotation["bbox"])
    box = np.array([x, y, x + width, y + height])
    inside = np.clip(box, 0, [size[0], size[1], size[0], size[1]])
    if not (inside[2:] - inside[:2] >= 0.01).all():  # not: a NaN is no box either
        counts["dropped"] += 1
        return
    counts["clipped"] += bool(np.abs(inside - box).max() > 0.5)
    counts["objects"] += 1
    yield {
        "box": inside.tolist(),
        "crowd": bool(annotation.get("iscrowd", 0)),
        "difficult": False,
        "area": float(annotation.get("area", width * height)),
        "id": int(annotation["id"]),
        "segmentation": annotation.get("segmentation"),
    }
