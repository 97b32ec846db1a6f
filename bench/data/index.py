"""A split as flat arrays on disk, memory-mapped:
118k images with 860k objects pickle in microseconds."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from bench.contracts.images import ImageSet, Objects
from bench.core.errors import BadData
from bench.core.files import write_json
from bench.core.ragged import Ragged, offsets, span
from bench.data.semantic import read_classes


@dataclass
class Row:
    """One image on its way into an index. `annotations`: dicts with box (xyxy), label, crowd,
    difficult, area, id, segmentation (COCO polygons or RLE, as Python's lists or as JSON text, or
    None), keypoints (flat list, or None). `file` and `semantic` (the PNG of class indices, or
    None) are relative to the folder `IndexedImages` is given. `mark`: a hash of the file's bytes,
    which the index does not keep."""

    id: int
    file: str
    size: tuple[int, int]
    annotations: list[dict[str, Any]] = field(default_factory=list)
    semantic: str | None = None
    label: int | None = None  # the class of the whole image, in classification sets
    mark: str = ""


def write_index(
    folder: Path,
    classes: list[str],
    rows: Iterable[Row],
    keypoint_names: tuple[str, ...] | None = None,
) -> None:
    """Write the rows as arrays under `folder`, in ascending order of image id."""
    folder.mkdir(parents=True, exist_ok=True)
    ordered = sorted(rows, key=lambda r: r.id)
    flat = [a for row in ordered for a in row.annotations]
    arrays: dict[str, np.ndarray] = {
        "ids": np.array([r.id for r in ordered], np.int64),
        "sizes": np.array([r.size for r in ordered], np.int32).reshape(-1, 2),
        "first": offsets(len(r.annotations) for r in ordered),
        "boxes": np.array([a["box"] for a in flat], np.float32).reshape(-1, 4),
        "labels": np.array([a["label"] for a in flat], np.int64),
        "crowd": np.array([a["crowd"] for a in flat], bool),
        "difficult": np.array([a["difficult"] for a in flat], bool),
        "area": np.array([a["area"] for a in flat], np.float64),
        "object_ids": np.array([a["id"] for a in flat], np.int64),
    }
    _text(arrays, "files", (r.file for r in ordered))
    if any(r.label is not None for r in ordered):
        arrays["image_class"] = np.array(
            [-1 if r.label is None else r.label for r in ordered], np.int64
        )
    if any(r.semantic for r in ordered):
        _text(arrays, "semantic", (r.semantic or "" for r in ordered))
    if any(a["segmentation"] is not None for a in flat):
        _text(arrays, "masks", (_mask_text(a["segmentation"]) for a in flat))
    if any(a["keypoints"] is not None for a in flat):
        count = next(len(a["keypoints"]) for a in flat if a["keypoints"] is not None)
        rows_ = [a["keypoints"] if a["keypoints"] is not None else [0.0] * count for a in flat]
        arrays["keypoints"] = np.array(rows_, np.float32).reshape(len(flat), -1, 3)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    write_json(folder / "classes.json", classes)
    if keypoint_names is not None:
        write_json(folder / "keypoint_names.json", list(keypoint_names))


def _mask_text(segmentation: Any) -> str:
    """Its JSON; what is text already (msgspec.Raw, of a COCO file) is not written anew."""
    if segmentation is None or isinstance(segmentation, list | dict):
        return json.dumps(segmentation, separators=(",", ":"))
    return bytes(segmentation).decode()


def _text(arrays: dict[str, np.ndarray], name: str, texts: Iterable[str]) -> None:
    """One text at a time: the masks of official train2017 are hundreds of megabytes."""
    whole, ends = bytearray(), [0]
    for text in texts:
        whole += text.encode()
        ends.append(len(whole))
    arrays[name] = np.frombuffer(whole, np.uint8)
    arrays[f"{name}_at"] = np.array(ends, np.int64)


class IndexedImages(ImageSet):
    """An ImageSet served from an index folder; pickles as a few names,
    arrays are mapped on first use."""

    def __init__(
        self,
        name: str,
        split: str,
        index: Path,
        images: Path,
        keypoint_names: tuple[str, ...] = (),
    ) -> None:
        self.name, self.split, self.index, self.root = name, split, index, images
        self.keypoint_names = keypoint_names
        if not (index / "ids.npy").exists():
            raise BadData(f"{name} has no split {split!r} here; try: bench list data")
        own = index / "keypoint_names.json"
        if own.exists():
            self.keypoint_names = tuple(json.loads(own.read_text()))

    def __getstate__(self) -> dict[str, Any]:
        names = ("name", "split", "index", "root", "keypoint_names")
        return {name: getattr(self, name) for name in names}

    def _array(self, name: str) -> np.ndarray:
        cache = self.__dict__.setdefault("_arrays", {})
        if name not in cache:
            path = self.index / f"{name}.npy"
            try:
                cache[name] = np.load(path, mmap_mode="r")
            except ValueError:  # an empty array cannot be mapped
                cache[name] = np.load(path)
        array: np.ndarray = cache[name]
        return array

    @cached_property
    def classes(self) -> list[str]:  # type: ignore[override]
        names: list[str] = json.loads((self.index / "classes.json").read_text())
        return names

    @cached_property
    def ids(self) -> np.ndarray:  # type: ignore[override]
        return np.asarray(self._array("ids"))

    @cached_property
    def sizes(self) -> np.ndarray:  # type: ignore[override]
        return np.asarray(self._array("sizes"))

    def file(self, index: int) -> Path:
        return self.root / self._slice("files", index).decode()

    def semantic(self, index: int) -> np.ndarray | None:
        if not self.has_semantic()[index]:
            return None
        return read_classes(self.root / self._slice("semantic", index).decode())

    def has_semantic(self) -> np.ndarray:
        if not (self.index / "semantic.npy").exists():
            return super().has_semantic()
        return np.diff(self._array("semantic_at")) > 0

    def count_unmasked(self) -> np.ndarray:
        if not (self.index / "masks.npy").exists():
            return super().count_unmasked()
        absent = np.diff(self._array("masks_at")) == len("null")  # no mask is as short
        return np.diff(np.cumsum([0, *absent])[np.asarray(self._array("first"))])

    def image_class(self) -> np.ndarray | None:
        if not (self.index / "image_class.npy").exists():
            return None
        return np.array(self._array("image_class"))

    def _slice(self, name: str, index: int) -> bytes:
        return Ragged(self._array(name), self._array(f"{name}_at"))[index].tobytes()

    def objects(self, index: int) -> Objects:
        part = span(self._array("first"), index)
        masks = (self.index / "masks.npy").exists()
        points = (self.index / "keypoints.npy").exists()
        return Objects(
            boxes=np.array(self._array("boxes")[part]),
            labels=np.array(self._array("labels")[part]),
            crowd=np.array(self._array("crowd")[part]),
            difficult=np.array(self._array("difficult")[part]),
            area=np.array(self._array("area")[part]),
            ids=np.array(self._array("object_ids")[part]),
            segmentations=[
                json.loads(self._slice("masks", i)) for i in range(part.start, part.stop)
            ]
            if masks
            else None,
            keypoints=np.array(self._array("keypoints")[part]) if points else None,
        )

    def counts(self) -> dict[str, int]:
        """Images; objects, of which crowds, difficult ones and ones with keypoints; semantic
        masks; classes there are and, where images or objects have one, classes that are shown.
        None that is zero."""
        labels, kinds = self._array("labels"), self.image_class()
        points = (
            self._array("keypoints")
            if (self.index / "keypoints.npy").exists()
            else np.zeros((0, 1, 3))
        )
        shown = labels if kinds is None else kinds[kinds >= 0]
        numbers = {
            "objects": len(labels),
            "crowds": int(self._array("crowd").sum()),
            "difficult": int(self._array("difficult").sum()),
            "with_keypoints": int((points[:, :, 2] > 0).any(1).sum()),
            "masks": int(self.has_semantic().sum()),
            "classes": len(self.classes),
            "classes_shown": len(np.unique(shown)),
        }
        return {"images": len(self)} | {name: n for name, n in numbers.items() if n}
