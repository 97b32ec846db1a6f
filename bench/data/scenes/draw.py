"""One generated scene: a pure function of (seed, index), whatever layout it is written in."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from bench.core.seeds import rng_for
from bench.data.scenes.classes import CLASSES, SHAPES, TEXTURES
from bench.data.scenes.shapes import background, silhouette, texture, two_colours

SCENE_TYPES = 4
MORE_OBJECTS = 5.0  # mean of the Poisson number beside the first one
SHARE, SPREAD = 0.07, 0.45  # of the picture in an object's box: median, deviation of the log
PLACES = 6  # tried for each object; the one where boxes have the least in common is taken
MIN_VISIBLE, MIN_PIXELS = 0.3, 40


@dataclass(frozen=True)
class Scene:
    """image: (H, W, 3) uint8 RGB. labels: (n,) in 0..19.
    masks: (n, H, W) bool, visible pixels, disjoint.
    kind: the scene type, 0..3."""

    image: np.ndarray
    labels: np.ndarray
    masks: np.ndarray
    kind: int


def context(kind: int) -> np.ndarray:
    """(20,) class probabilities of a scene type:
    eight classes are three times as likely as the rest."""
    weights = np.ones(len(CLASSES))
    weights[(np.arange(8) + 5 * kind) % len(CLASSES)] = 3.0
    return weights / weights.sum()


@dataclass(frozen=True)
class _Item:
    label: int
    centre: tuple[float, float]
    half: tuple[float, float]
    turn: float
    cover: np.ndarray


def draw_scene(seed: int, index: int, base: tuple[int, int] = (192, 144)) -> Scene:
    """Scene `index` of the set with this seed; `base` = mean width and height in pixels."""
    rng = rng_for(seed, "scene", index)
    stretch = rng.uniform(0.88, 1.12)
    upright = rng.random() < 0.25
    width, height = (round(base[0] * stretch), round(base[1] / stretch))
    size = (height, width) if upright else (width, height)
    kind = int(rng.integers(SCENE_TYPES))
    count = int(np.clip(1 + rng.poisson(MORE_OBJECTS), 1, 14))
    labels = rng.choice(len(CLASSES), count, p=context(kind))
    items: list[_Item] = []
    for label in labels:
        items.append(_place(int(label), size, items, rng))
    items.sort(key=lambda i: -i.half[0] * i.half[1])
    return _rendered(_visible(items), kind, size, rng)


def draw_object(seed: int, index: int, base: tuple[int, int] = (96, 96)) -> Scene:
    """One object over a fifth to a half of a picture of `base` pixels, about its middle, its class
    uniform: what sets with one label an image show."""
    rng = rng_for(seed, "object", index)
    kind, label = int(rng.integers(SCENE_TYPES)), int(rng.integers(len(CLASSES)))
    share, (x, y) = float(rng.uniform(0.2, 0.5)), rng.uniform(0.4, 0.6, 2)
    centre = (float(x) * base[0], float(y) * base[1])
    item = _item(label, base, _half(share, base, rng), centre, rng)
    return _rendered([item], kind, base, rng)


def _rendered(
    items: list[_Item], kind: int, size: tuple[int, int], rng: np.random.Generator
) -> Scene:
    picture = background(kind, size, rng)
    for item in items:
        _paint(picture, item, rng)
    picture = cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.3, 0.6)))
    noise = rng.standard_normal(picture.shape, dtype=np.float32)
    picture = picture * np.float32(rng.uniform(0.85, 1.15)) + 4 * noise
    owner = _owner(items)
    masks = np.array([owner == i for i in range(len(items))], bool).reshape(-1, size[1], size[0])
    return Scene(
        np.clip(picture, 0, 255).round().astype(np.uint8),
        np.array([i.label for i in items], np.int64),
        masks,
        kind,
    )


def _place(
    label: int, size: tuple[int, int], placed: list[_Item], rng: np.random.Generator
) -> _Item:
    """An object beside the others. Sizes are skewed (many small, few large); an object may reach
    over the border, and over others where there is no room."""
    share = float(np.clip(np.exp(rng.normal(np.log(SHARE), SPREAD)), 0.012, 0.55))
    half = _half(share, size, rng)
    centres = rng.uniform(0.1, 0.9, (PLACES, 2)) * size
    hidden = [sum(_overlap(centre, half, other) for other in placed) for centre in centres]
    x, y = centres[int(np.argmin(hidden))]
    return _item(label, size, half, (float(x), float(y)), rng)


def _half(share: float, size: tuple[int, int], rng: np.random.Generator) -> tuple[float, float]:
    """Half the width and height of an upright box with `share` of the picture."""
    side = np.sqrt(share * size[0] * size[1])
    aspect = float(np.exp(rng.uniform(np.log(0.7), np.log(1.4))))
    return (float(side * np.sqrt(aspect) / 2), float(side / np.sqrt(aspect) / 2))


def _overlap(centre: np.ndarray, half: tuple[float, float], other: _Item) -> float:
    """What two upright boxes have in common, as a share of the smaller one."""
    ends = np.minimum(centre + half, np.add(other.centre, other.half))
    starts = np.maximum(centre - half, np.subtract(other.centre, other.half))
    common = float(np.prod(np.maximum(ends - starts, 0.0)))
    return common / (4 * min(half[0] * half[1], other.half[0] * other.half[1]))


def _item(
    label: int,
    size: tuple[int, int],
    half: tuple[float, float],
    centre: tuple[float, float],
    rng: np.random.Generator,
) -> _Item:
    """An object of this class at this place, a little turned."""
    turn, flip = float(rng.normal(0, 0.25)), bool(rng.random() < 0.5)
    cover = silhouette(SHAPES[label // len(TEXTURES)], size, centre, half, turn, flip, rng)
    return _Item(label, centre, half, turn, cover)


def _owner(items: list[_Item]) -> np.ndarray:
    """(H, W) int: the topmost item of each pixel, -1 for none."""
    if not items:
        return np.full((1, 1), -1)
    owner = np.full(items[0].cover.shape, -1)
    for i, item in enumerate(items):
        owner[item.cover > 0.5] = i
    return owner


def _visible(items: list[_Item]) -> list[_Item]:
    """Drop what is mostly hidden or cut off, the most hidden first,
    until everything left shows."""
    while items:
        owner = _owner(items)
        full = [np.pi * i.half[0] * i.half[1] * 0.5 for i in items]
        seen = [int((owner == i).sum()) for i in range(len(items))]
        shares = [
            min(s / f, 1.0) if s >= MIN_PIXELS else 0.0 for s, f in zip(seen, full, strict=True)
        ]
        worst = int(np.argmin(shares))
        if shares[worst] >= MIN_VISIBLE or (len(items) == 1 and seen[0] > 0):
            return items
        items = items[:worst] + items[worst + 1 :]
    return items


def _paint(picture: np.ndarray, item: _Item, rng: np.random.Generator) -> None:
    """Paint an object into `picture`, (H, W, 3) float32, within the rows and columns it covers."""
    rows, columns = (np.flatnonzero(item.cover.any(axis)) for axis in (1, 0))
    if not len(rows):
        return
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    cover = item.cover[top:bottom, left:right, None]
    centre = (item.centre[0] - left, item.centre[1] - top)
    size = (int(right - left), int(bottom - top))
    kind, scale = TEXTURES[item.label % len(TEXTURES)], float(np.mean(item.half))
    mix = texture(kind, size, centre, scale, item.turn, rng)
    first, second = two_colours(rng)
    y, x = np.mgrid[: size[1], : size[0]].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    slope = (x - centre[0]) * np.cos(angle) + (y - centre[1]) * np.sin(angle)
    light = np.clip(1.0 + 0.18 * slope / max(item.half), 0.6, 1.35)
    surface = (first + (second - first) * mix[..., None]) * light[..., None]
    part = picture[top:bottom, left:right]
    part += (surface - part) * cover
