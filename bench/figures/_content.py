"""What a figure is drawn from, as plain data in a stage's folder: `figure.json`, arrays in
`figure.npz`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from bench.core.errors import BadData
from bench.core.files import write_json

ARRAY = "array"  # {"array": "a3"} in the JSON stands for an array of the other file
LONGEST = 480  # pixels of a kept image's longer side
Content = dict[str, Any]


def save(folder: Path, content: Content) -> None:
    """Write the content: dicts, lists, texts and numbers, with NumPy arrays anywhere in it."""
    arrays: dict[str, np.ndarray] = {}
    plain = _taken_out(content, arrays)
    kept: dict[str, Any] = dict(arrays)
    np.savez_compressed(folder / "figure.npz", **kept)
    write_json(folder / "figure.json", plain)


def _taken_out(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, np.ndarray):
        name = f"a{len(arrays)}"
        arrays[name] = value
        return {ARRAY: name}
    if isinstance(value, dict):
        return {k: _taken_out(v, arrays) for k, v in value.items()}
    return [_taken_out(v, arrays) for v in value] if isinstance(value, list | tuple) else value


def load(folder: Path) -> Content:
    """The content that `save` wrote; BadData where it is damaged."""
    try:
        with np.load(folder / "figure.npz") as file:
            arrays = dict(file)
        content = _put_back(json.loads((folder / "figure.json").read_text()), arrays)
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise BadData(
            f"{folder} holds no whole figure ({type(error).__name__}); delete it and make it again"
        ) from None
    return dict(content)


def _put_back(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, dict):
        if set(value) == {ARRAY}:
            return arrays[value[ARRAY]]
        return {k: _put_back(v, arrays) for k, v in value.items()}
    return [_put_back(v, arrays) for v in value] if isinstance(value, list) else value


def panel(
    image: np.ndarray,
    title: str = "",
    boxes: np.ndarray | None = None,
    labels: list[str] | None = None,
    dashed: list[bool] | None = None,
    colours: list[int] | None = None,
    heat: np.ndarray | None = None,
) -> Content:
    """A picture for `_look.grid`, made small enough to keep.

    image: (H, W, 3) uint8. boxes: (n, 4) xyxy in its pixels, with a label, a style and a colour
    (position in the palette) each. heat: (h, w) in [0, 1], drawn over the image.
    """
    factor = min(1.0, LONGEST / max(image.shape[:2]))
    boxes = np.zeros((0, 4)) if boxes is None else np.asarray(boxes, np.float64).reshape(-1, 4)
    if factor < 1:
        size = tuple(max(1, round(n * factor)) for n in (image.shape[1], image.shape[0]))
        boxes = boxes * np.array([size[0] / image.shape[1], size[1] / image.shape[0]] * 2)
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    content: Content = {"image": np.ascontiguousarray(image), "title": title, "boxes": boxes}
    content |= {"labels": labels or [], "dashed": dashed or [], "colours": colours or []}
    return content if heat is None else {**content, "heat": np.asarray(heat, np.float32)}


def scale_to_unit(values: np.ndarray) -> np.ndarray:
    """A map from its smallest to its largest value as 0 to 1; a constant one is zeros."""
    values = np.asarray(values, np.float64)
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)
