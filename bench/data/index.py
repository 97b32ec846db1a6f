"""A split as flat arrays on disk, memory-mapped:
118k images with 860k objects pickle in microseconds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

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


@dataclass
class Columns:
    """A split on its way into an index as columns: images in ascending order of id, the objects of
    image i from `first[i]` to `first[i + 1]`. boxes: (N, 4) xyxy. masks: as `segmentation` of
    `Row`, None where no object has one. keypoints: (N, K, 3), None where no object has any."""

    ids: np.ndarray
    sizes: np.ndarray
    files: Sequence[str]
    first: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    difficult: np.ndarray
    area: np.ndarray
    object_ids: np.ndarray
    masks: Sequence[Any] | None = None
    keypoints: np.ndarray | None = None
    image_class: np.ndarray | None = None
    semantic: Sequence[str] | None = None


def write_index(
    folder: Path,
    classes: list[str],
    rows: Iterable[Row],
    keypoint_names: tuple[str, ...] | None = None,
) -> None:
    """Write the rows as arrays under `folder`, in ascending order of image id."""
    ordered = sorted(rows, key=lambda r: r.id)
    flat = [a for row in ordered for a in row.annotations]
    columns = Columns(
        ids=np.array([r.id for r in ordered], np.int64),
        sizes=np.array([r.size for r in ordered], np.int32).reshape(-1, 2),
        files=[r.file for r in ordered],
        first=offsets(len(r.annotations) for r in ordered),
        boxes=np.array([a["box"] for a in flat], np.float32).reshape(-1, 4),
        labels=np.array([a["label"] for a in flat], np.int64),
        crowd=np.array([a["crowd"] for a in flat], bool),
        difficult=np.array([a["difficult"] for a in flat], bool),
        area=np.array([a["area"] for a in flat], np.float64),
        object_ids=np.array([a["id"] for a in flat], np.int64),
    )
    if any(r.label is not None for r in ordered):
        columns.image_class = np.array(
            [-1 if r.label is None else r.label for r in ordered], np.int64
        )
    if any(r.semantic for r in ordered):
        columns.semantic = [r.semantic or "" for r in ordered]
    if any(a["segmentation"] is not None for a in flat):
        columns.masks = [a["segmentation"] for a in flat]
    columns.keypoints = stack_keypoints([a["keypoints"] for a in flat])
    write_columns(folder, classes, columns, keypoint_names)


PLAIN = (type(None), list, dict)  # masks that are not JSON text yet


def stack_keypoints(points: Sequence[Sequence[float] | np.ndarray | None]) -> np.ndarray | None:
    """(N, K, 3) float32 of N flat lists of x, y, visibility, zeros for None; None where all are
    None."""
    count = next((len(p) for p in points if p is not None), None)
    if count is None:
        return None
    absent = [0.0] * count
    rows = [absent if p is None else p for p in points]
    return np.array(rows, np.float32).reshape(len(rows), -1, 3)


def write_columns(
    folder: Path,
    classes: list[str],
    columns: Columns,
    keypoint_names: tuple[str, ...] | None = None,
) -> None:
    """Write the columns as arrays under `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, np.ndarray] = {
        "ids": columns.ids,
        "sizes": columns.sizes.astype(np.int32),
        "first": columns.first,
        "boxes": columns.boxes.astype(np.float32),
        "labels": columns.labels,
        "crowd": columns.crowd,
        "difficult": columns.difficult,
        "area": columns.area,
        "object_ids": columns.object_ids,
    }
    if columns.image_class is not None:
        arrays["image_class"] = columns.image_class
    if columns.keypoints is not None:
        arrays["keypoints"] = columns.keypoints
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    _save_texts(folder, "files", map(str.encode, columns.files))
    if columns.semantic is not None:
        _save_texts(folder, "semantic", map(str.encode, columns.semantic))
    if columns.masks is not None:
        # JSON of a COCO file is text already (msgspec.Raw), which is not written anew
        texts = (_to_json(m) if m.__class__ in PLAIN else bytes(m) for m in columns.masks)
        _save_texts(folder, "masks", texts)
    write_json(folder / "classes.json", classes)
    if keypoint_names is not None:
        write_json(folder / "keypoint_names.json", list(keypoint_names))


def _to_json(segmentation: Any) -> bytes:
    return json.dumps(segmentation, separators=(",", ":")).encode()


def _save_texts(folder: Path, name: str, texts: Iterable[bytes]) -> None:
    """Save the bytes of all texts as one array and where each begins as another, some thousands
    at a time: the masks of official train2017 are hundreds of megabytes."""
    lengths: list[int] = []
    rest = iter(texts)
    with open(folder / f"{name}.npy", "wb") as file:
        _write_header(file, 0)
        while part := list(islice(rest, 4096)):
            file.write(b"".join(part))
            lengths += map(len, part)
        first = offsets(lengths)
        file.seek(0)
        _write_header(file, int(first[-1]))
    np.save(folder / f"{name}_at.npy", first)


def _write_header(file: BinaryIO, count: int) -> None:
    """The header of `count` bytes as np.save writes it, of the same length for every count."""
    layout = {"descr": "|u1", "fortran_order": False, "shape": (count,)}
    np.lib.format.write_array_header_1_0(file, layout)


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
