"""Edge maps for edge boxes: image gradients, or OpenCV's structured forest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from bench.core.errors import BadInput

LEAST_EDGE = 1.0  # gradient of a quarter of a grey level; less is rounding, not an edge


def check_model(model: Path) -> None:
    """OpenCV reads any YAML as a model and divides by its stride: 0 where there is none ends the
    process."""
    try:
        file = cv2.FileStorage(str(model), cv2.FILE_STORAGE_READ)
        good = file.isOpened() and file.getNode("options").getNode("stride").real() >= 1
        good = good and file.getNode("thresholds").size() > 0
        file.release()
    except (cv2.error, SystemError):  # the binding's own, on text that is no YAML
        good = False
    if not good:
        raise BadInput(
            f"edge_boxes.model {model.name} is no structured-forest edge model of OpenCV's; "
            "try: --set edge_boxes.model=model.yml.gz"
        )


_DETECTORS: dict[Path, Any] = {}


def forest_edges(image: np.ndarray, model: Path) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 3) uint8 RGB -> edges and orientations, (H, W) float32 each, of the structured forest
    in the file `model`, thinned. A process reads the file once."""
    if model not in _DETECTORS:
        _DETECTORS[model] = cv2.ximgproc.createStructuredEdgeDetection(str(model))
    detector = _DETECTORS[model]
    edges = detector.detectEdges(np.ascontiguousarray(image.astype(np.float32) / 255))
    orientation = detector.computeOrientation(edges)
    return detector.edgesNms(edges, orientation), orientation


def gradient_edges(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 3) uint8 -> edges (H, W) float32 0 to 1 and orientations (H, W) float32 in [0, pi).

    At each pixel the channel of largest gradient counts (Sobel after a Gaussian of sigma 1); a
    pixel that is not the largest along its gradient is 0. Orientation is the gradient's, as
    OpenCV's `computeOrientation` gives it for an edge map.
    """
    smooth = cv2.GaussianBlur(image.astype(np.float32), (0, 0), 1.0)
    gx, gy = cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)
    size = gx**2 + gy**2
    channel = size.argmax(2)[..., None]
    gx, gy = (np.take_along_axis(g, channel, 2)[..., 0] for g in (gx, gy))
    edges = np.sqrt(np.take_along_axis(size, channel, 2)[..., 0])
    orientation = np.mod(np.arctan2(gy, gx), np.pi).astype(np.float32)
    thin = _thin(edges, orientation)
    high = float(np.percentile(edges, 99.5))
    return np.clip(thin / max(high, LEAST_EDGE), 0, 1).astype(np.float32), orientation


def _thin(edges: np.ndarray, orientation: np.ndarray) -> np.ndarray:
    """`edges` where no neighbour one pixel along the gradient (bilinear) is larger, else 0."""
    height, width = edges.shape
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    dx, dy = np.cos(orientation), np.sin(orientation)
    before, after = (
        cv2.remap(edges, x + s * dx, y + s * dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for s in (-1.0, 1.0)
    )
    return np.where((edges >= before) & (edges >= after), edges, 0)
