"""Pictures for people: contact sheets and boxes. OpenCV is imported by the function that draws."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.core.errors import BadInput

PALETTE = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
)


def contact_sheet(rows: Sequence[Sequence[np.ndarray]], gap: int = 2) -> np.ndarray:
    """Rows of (h, w, 3) uint8 images of any size -> one (H, W, 3) uint8 picture on white."""
    lines = []
    for row in rows:
        height = max(image.shape[0] for image in row)
        cells = [
            np.pad(i, ((0, height - i.shape[0] + gap), (0, gap), (0, 0)), constant_values=255)
            for i in row
        ]
        lines.append(np.concatenate(cells, axis=1))
    width = max(line.shape[1] for line in lines)
    whole = [
        np.pad(i, ((0, 0), (0, width - i.shape[1]), (0, 0)), constant_values=255) for i in lines
    ]
    return np.concatenate(whole, axis=0)


def save_png(path: Path, picture: np.ndarray) -> None:
    """Write (H, W, 3) uint8 RGB; BadInput where that cannot be."""
    import cv2

    done, encoded = cv2.imencode(".png", picture[..., ::-1])
    if not done:
        raise BadInput(
            f"a picture of {picture.shape[1]} x {picture.shape[0]} pixels cannot be written as PNG"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded.tobytes())
    except OSError as error:
        raise BadInput(f"{path} cannot be written ({error.strerror}); try another file") from None


def add_title(image: np.ndarray, text: str) -> np.ndarray:
    """A copy of (H, W, 3) uint8 RGB with a line of text above it."""
    import cv2

    bar = np.full((18, image.shape[1], 3), 255, np.uint8)
    cv2.putText(bar, text, (2, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([bar, image])


def overlay_heat(image: np.ndarray, low: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB under a map (h, w) in [0, 1], bilinearly enlarged, in colour (blue 0,
    yellow 1)."""
    import cv2

    height, width = image.shape[:2]
    full = cv2.resize(low.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    colour = cv2.applyColorMap((full * 255).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1]
    return (image * 0.4 + colour * 0.6).astype(np.uint8)


def draw_boxes(
    image: np.ndarray, boxes: np.ndarray, labels: Sequence[str] = (), width: int = 1
) -> np.ndarray:
    """A copy of (H, W, 3) uint8 RGB with xyxy boxes (n, 4), lines `width` pixels wide, and their
    labels."""
    import cv2

    picture = np.ascontiguousarray(image).copy()
    for i, box in enumerate(np.asarray(boxes).reshape(-1, 4)):
        x1, y1, x2, y2 = (round(float(v)) for v in box)
        colour = PALETTE[i % len(PALETTE)]
        cv2.rectangle(picture, (x1, y1), (x2 - 1, y2 - 1), colour, width)
        if i < len(labels):
            cv2.putText(
                picture, labels[i], (x1 + 2, y1 + 10), cv2.FONT_HERSHEY_SIMPLEX, 0.35, colour, 1
            )
    return picture
