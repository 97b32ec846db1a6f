"""What generated objects look like: silhouettes, textures, colours, and what lies behind them."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

SUPER = 4  # silhouettes are drawn this much larger and averaged down
VIVID = 0.15  # factor on the saturation of colours
CONTRAST = 0.6  # of the two colours of a background


def _around(n: int, radius: Callable[[int], float], turn: float = 0.0) -> np.ndarray:
    angle = turn + 2 * np.pi * np.arange(n) / n
    return np.stack([np.cos(angle), np.sin(angle)], 1) * np.array([[radius(i)] for i in range(n)])


def outline(shape: str, rng: np.random.Generator) -> list[np.ndarray]:
    """Polygons of a silhouette within [-1, 1]^2, with the variation of its kind; a hole is a
    second polygon inside the first (even-odd filling)."""
    if shape == "star":
        points, inner = int(rng.integers(5, 8)), float(rng.uniform(0.38, 0.52))
        return [_around(2 * points, lambda i: 1.0 if i % 2 == 0 else inner, -np.pi / 2)]
    if shape == "ring":
        hole = float(rng.uniform(0.42, 0.6))
        return [_around(40, lambda i: 1.0), _around(40, lambda i: hole)]
    if shape == "house":
        eaves, wall = float(rng.uniform(-0.25, 0.05)), float(rng.uniform(0.6, 0.8))
        return [
            np.array(
                [
                    (0, -1),
                    (1, eaves),
                    (wall, eaves),
                    (wall, 1),
                    (-wall, 1),
                    (-wall, eaves),
                    (-1, eaves),
                ]
            )
        ]
    if shape == "fish":
        body = _around(30, lambda i: 1.0) * [0.72, float(rng.uniform(0.42, 0.6))] - [0.28, 0]
        tail, notch = float(rng.uniform(0.45, 0.65)), float(rng.uniform(0.6, 0.75))
        return [body, np.array([(0.25, 0.0), (1.0, -tail), (notch, 0.0), (1.0, tail)])]
    trunk, low = float(rng.uniform(0.12, 0.2)), float(rng.uniform(0.3, 0.5))
    crown = [
        (0, -1),
        (0.55, -0.35),
        (0.35, -0.35),
        (0.85, low),
        (-0.85, low),
        (-0.35, -0.35),
        (-0.55, -0.35),
    ]
    return [
        np.array(crown),
        np.array([(-trunk, low - 0.1), (trunk, low - 0.1), (trunk, 1), (-trunk, 1)]),
    ]


def silhouette(
    shape: str,
    size: tuple[int, int],
    centre: tuple[float, float],
    half: tuple[float, float],
    turn: float,
    flip: bool,
    rng: np.random.Generator,
) -> np.ndarray:
    """(H, W) float32 coverage in [0, 1]; `size` = (width, height),
    `half` = half width and height."""
    width, height = size
    cos, sin = np.cos(turn), np.sin(turn)
    canvas = np.zeros((height * SUPER, width * SUPER), np.uint8)
    polygons = []
    for polygon in outline(shape, rng):
        p = polygon * [-half[0] if flip else half[0], half[1]]
        p = p @ np.array([[cos, sin], [-sin, cos]]) + centre
        polygons.append(np.round(p * SUPER * 16).astype(np.int32))
    if shape == "ring":  # one call: even-odd, so that the second polygon is a hole
        cv2.fillPoly(canvas, polygons, 255, cv2.LINE_8, 4)
    else:
        for p in polygons:
            cv2.fillPoly(canvas, [p], 255, cv2.LINE_8, 4)
    return (
        cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    )


def texture(
    kind: str,
    size: tuple[int, int],
    centre: tuple[float, float],
    scale: float,
    turn: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """(H, W) float32 in [0, 1], the mix of an object's two colours;
    `scale` = the object's half size."""
    width, height = size
    y, x = np.mgrid[:height, :width].astype(np.float32)
    angle = turn + float(rng.uniform(-0.4, 0.4)) + (np.pi / 2 if rng.random() < 0.5 else 0.0)
    period = float(np.clip(scale * rng.uniform(0.4, 0.6), 3.5, 24))
    u = ((x - centre[0]) * np.cos(angle) + (y - centre[1]) * np.sin(angle)) / period + float(
        rng.random()
    )
    v = (-(x - centre[0]) * np.sin(angle) + (y - centre[1]) * np.cos(angle)) / period + float(
        rng.random()
    )
    if kind == "striped":
        wave = np.sin(2 * np.pi * u)
    elif kind == "checked":
        wave = np.sin(np.pi * u) * np.sin(np.pi * v) * 2
    elif kind == "dotted":
        wave = np.cos(2 * np.pi * u) + np.cos(2 * np.pi * v) - 0.6
    else:
        coarse = rng.standard_normal(
            (int(height / period * 1.6) + 2, int(width / period * 1.6) + 2)
        )
        wave = (
            cv2.resize(coarse.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
            * 1.5
        )
    return np.clip(wave * 2 + 0.5, 0, 1).astype(np.float32)


def two_colours(rng: np.random.Generator) -> np.ndarray:
    """(2, 3) float32 RGB 0-255: two nearly grey colours of any hue, apart in brightness so that
    the texture shows. Vivid colours, which say nothing of the class, would tell the pictures of a
    batch apart by themselves, and a short training would learn nothing else."""
    hues = rng.uniform(0, 180, 2)
    dark, light = rng.uniform(30, 110), rng.uniform(150, 245)
    vivid = VIVID * rng.uniform((40, 20), (200, 170))
    hsv = np.array([[[hues[0], vivid[0], dark], [hues[1], vivid[1], light]]])
    rgb = cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB)[0].astype(np.float32)
    return rgb[::-1] if rng.random() < 0.5 else rgb


def background(kind: int, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """(H, W, 3) float32: one of four plain scene types (horizon, slope, glow, clouds), soft so
    that a crop without objects teaches little."""
    width, height = size
    y, x = np.mgrid[:height, :width].astype(np.float32)
    a, b = two_colours(rng) * 0.5 + 64
    if kind == 0:
        horizon = height * rng.uniform(0.3, 0.6)
        mix = np.clip((y - horizon) / (0.1 * height), 0, 1) * (0.6 + 0.4 * y / height)
    elif kind == 1:
        angle = rng.uniform(0, 2 * np.pi)
        along = (x - width / 2) * np.cos(angle) + (y - height / 2) * np.sin(angle)
        mix = 0.5 + 0.5 * np.clip(1.6 * along / max(size), -1, 1)
    elif kind == 2:
        centre = rng.uniform(0.2, 0.8, 2) * size
        mix = np.clip(1.5 * np.hypot(x - centre[0], y - centre[1]) / max(size), 0, 1)
    else:
        coarse = rng.standard_normal((3, 4)).astype(np.float32)
        mix = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        mix = np.clip(mix * 0.6 + 0.5, 0, 1)
    return np.asarray(a + (b - a) * (CONTRAST * mix[..., None]), np.float32)
