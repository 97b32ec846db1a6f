"""Pictures for people: contact sheets and boxes."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

PALETTE = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0))


def contact_sheet(rows: Sequence[Sequence[np.ndarray]], gap: int = 2) -> np.ndarray:
    """Rows of (h, w, 3) uint8 images of any size -> one (H, W, 3) uint8 picture on white."""
    lines = []
    for row in rows:
        height = max(image.shape[0] for image in row)
        cells = [
            np.pad(i, ((0, height - i.shape[0] + gap), (0, gap), (0, 0)), constant_values=255) for i in row
        ]
        lines.append(np.concatenate(cells, axis=1))
    width = max(line.shape[1] for line in lines)
    whole = [np.pad(i, ((0, 0), (0, width - i.shape[1]), (0, 0)), constant_values=255) for i in lines]
    return np.concatenate(whole, axis=0)


def draw_boxes(image: np.ndarray, boxes: np.ndarray, labels: Sequence[str] = ()) -> np.ndarray:
    """A copy of (H, W, 3) uint8 RGB with xyxy boxes (n, 4) and their labels drawn in."""
    picture = np.ascontiguousarray(image).copy()
    for i, box in enumerate(np.asarray(boxes).reshape(-1, 4)):
        x1, y1, x2, y2 = (round(float(v)) for v in box)
        colour = PALETTE[i % len(PALETTE)]
        cv2.rectangle(picture, (x1, y1), (x2 - 1, y2 - 1), colour, 1)
        if i < len(labels):
            cv2.putText(picture, labels[i], (x1 + 2, y1 + 10), cv2.FONT_HERSHEY_SIMPLEX, 0.35, colour, 1)
    return picture
