"""Generated scenes in the layouts of Cityscapes and CamVid, so that their readers run without real
data."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.data.layouts.driving import CAMVID_CLASSES, CITYSCAPES_LABELS

FIRST = {"train": 1, "val": 500_001}
Size = tuple[int, int]
BORDER = 2  # pixels along the image's edge that are void, as Cityscapes has them


def scene_pixels(
    seed: int, number: int, size: Size, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Scene `number` as (H, W, 3) RGB and (H, W) uint8: background 0, scene class k at 1 + k
    modulo (classes - 1), a border of 255."""
    from bench.data.scenes.draw import draw_scene

    scene = draw_scene(seed, number, size)
    pixels = np.zeros(scene.image.shape[:2], np.uint8)
    for label, mask in zip(scene.labels, scene.masks, strict=True):
        pixels[mask] = 1 + label % (classes - 1)
    inside = np.s_[BORDER:-BORDER, BORDER:-BORDER]
    framed = np.full_like(pixels, 255)
    framed[inside] = pixels[inside]
    return scene.image, framed


def write_cityscapes(
    root: Path, n_train: int, n_val: int, seed: int = 0, size: Size = (192, 144)
) -> Path:
    """`leftImg8bit/` and `gtFine/` under `root`: train is aachen, val is frankfurt."""
    values = np.full(256, 3, np.uint8)  # out of roi
    values[: len(CITYSCAPES_LABELS)] = list(CITYSCAPES_LABELS)
    for split, count, city in (("train", n_train, "aachen"), ("val", n_val, "frankfurt")):
        for i in range(count):
            image, pixels = scene_pixels(seed, FIRST[split] + i, size, len(CITYSCAPES_LABELS))
            name = f"{city}_{i:06d}_000019"
            _write(root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png", image)
            _write(root / "gtFine" / split / city / f"{name}_gtFine_labelIds.png", values[pixels])
    return root


def write_camvid(
    root: Path, n_train: int, n_val: int, seed: int = 0, size: Size = (192, 144)
) -> Path:
    """`train/`, `trainannot/`, `train.txt` and the same of val under `root`, one drive."""
    for split, count in (("train", n_train), ("val", n_val)):
        lines = []
        for i in range(count):
            image, pixels = scene_pixels(seed, FIRST[split] + i, size, len(CAMVID_CLASSES))
            name = f"0001TP_{FIRST[split] + i:06d}.png"
            _write(root / split / name, image)
            _write(root / f"{split}annot" / name, np.minimum(pixels, len(CAMVID_CLASSES)))
            lines.append(f"CamVid/{split}/{name} CamVid/{split}annot/{name}\n")
        (root / f"{split}.txt").write_text("".join(lines))
    return root


def _write(file: Path, pixels: np.ndarray) -> None:
    import cv2
    from PIL import Image

    file.parent.mkdir(parents=True, exist_ok=True)
    if pixels.ndim == 3:
        cv2.imwrite(str(file), pixels[..., ::-1])
    else:
        Image.fromarray(pixels, mode="L").save(file)
