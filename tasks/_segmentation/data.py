"""Training crops and test images: scale, crop, flip, colours, as pure functions of a step and a
place."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from bench.contracts.images import ImageSet
from bench.core.seeds import rng_for
from bench.data.semantic import VOID, pixel_targets
from bench.views.augment import MEAN, STD
from tasks._segmentation.protocol import SegmentationParams
from tasks._shared.finetune import Key

TRIES = 10  # crops drawn until no class has too large a share; the last one stays


def base_factor(width: int, height: int, p: SegmentationParams) -> float:
    """What brings the short side to `short` without the long one over `longest`; 1 where `short`
    is 0."""
    if not p.short:
        return 1.0
    return min(p.short / min(width, height), p.longest / max(width, height))


def resize_pair(
    image: np.ndarray, target: np.ndarray, factor: float
) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 3) bilinear and (H, W) by nearest pixel, times `factor`, rounded half up."""
    size = (max(1, int(image.shape[1] * factor + 0.5)), max(1, int(image.shape[0] * factor + 0.5)))
    if size == image.shape[1::-1]:
        return image, target
    return (
        cv2.resize(image, size, interpolation=cv2.INTER_LINEAR),
        cv2.resize(target, size, interpolation=cv2.INTER_NEAREST_EXACT),
    )


def crop_at(
    target: np.ndarray, size: tuple[int, int], share: float, rng: np.random.Generator
) -> tuple[slice, slice]:
    """A window of `size`, height and width, or less where the image is smaller, at random. It is
    drawn again, ten times at most, while its pixels that are not void are of one class or one has
    more than `share`."""
    room = [max(n - side, 0) for n, side in zip(target.shape, size, strict=True)]
    for _ in range(TRIES if share < 1 else 1):
        y, x = (int(rng.integers(n + 1)) for n in room)
        window = (slice(y, y + size[0]), slice(x, x + size[1]))
        counts = np.bincount(target[window].ravel(), minlength=256)[:VOID]
        if (counts > 0).sum() > 1 and counts.max() <= share * counts.sum():
            break
    return window


def photometric(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(H, W, 3) uint8 RGB with, each at probability 1/2: brightness +-32; contrast x .5-1.5,
    before or after the rest; saturation x .5-1.5; hue +-18 of 180 (SSD, Liu et al. 2016, as
    MMSegmentation does it)."""

    def affine(x: np.ndarray, gain: float, shift: float) -> np.ndarray:
        return np.clip(x.astype(np.float32) * gain + shift, 0, 255).astype(np.uint8)

    use = rng.random(5) < 0.5  # brightness, contrast, contrast first, saturation, hue
    shift, contrast = rng.uniform(-32, 32), rng.uniform(0.5, 1.5)
    saturation, hue = rng.uniform(0.5, 1.5), int(rng.integers(-18, 19))
    if use[0]:
        image = affine(image, 1.0, shift)
    if use[1] and use[2]:
        image = affine(image, contrast, 0.0)
    if use[3] or use[4]:
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
        if use[3]:
            hsv[..., 1] = affine(hsv[..., 1], saturation, 0.0)
        if use[4]:
            hsv[..., 0] = (hsv[..., 0].astype(int) + hue) % 180
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    if use[1] and not use[2]:
        image = affine(image, contrast, 0.0)
    return image


def normalise(image: np.ndarray) -> torch.Tensor:
    """(H, W, 3) uint8 RGB -> (3, H, W) float32, ImageNet's mean and deviation."""
    mean, deviation = np.array(MEAN, np.float32), np.array(STD, np.float32)
    scaled = (image.astype(np.float32) / 255 - mean) / deviation
    return torch.from_numpy(np.ascontiguousarray(scaled.transpose(2, 0, 1)))


def augment(
    image: np.ndarray, target: np.ndarray, p: SegmentationParams, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """A training crop: (3, h, w) float32 and (h, w) uint8, h and w of `p.crop`. What is smaller is
    padded at the right and the bottom, with zeros after normalisation and void."""
    factor = base_factor(image.shape[1], image.shape[0], p) * rng.uniform(*p.scale)
    image, target = resize_pair(image, target, factor)
    window = crop_at(target, p.crop, p.max_share, rng)
    image, target = image[window], target[window]
    if rng.random() < 0.5:
        image, target = image[:, ::-1], target[:, ::-1]
    if p.photometric:
        image = photometric(np.ascontiguousarray(image), rng)
    height, width = target.shape
    pixels, classes = torch.zeros(3, *p.crop), torch.full(p.crop, VOID, dtype=torch.uint8)
    pixels[:, :height, :width] = normalise(image)
    classes[:height, :width] = torch.from_numpy(np.ascontiguousarray(target))
    return pixels, classes


class TrainCrops(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Crops by Key; the same whatever the number of workers."""

    def __init__(self, images: ImageSet, p: SegmentationParams, seed: int) -> None:
        self.images, self.p, self.seed = images, p, seed

    def __getitem__(self, key: Key) -> tuple[torch.Tensor, torch.Tensor]:
        rng = rng_for(self.seed, "segmentation crop", key.step, key.place)
        return augment(
            self.images.image(key.index), pixel_targets(self.images, key.index), self.p, rng
        )


class TestImages(Dataset[tuple[int, torch.Tensor, torch.Tensor]]):
    """(position, image (3, h, w) at test size, target (H, W) uint8 at its own size)."""

    __test__ = False

    def __init__(self, images: ImageSet, positions: np.ndarray, p: SegmentationParams) -> None:
        self.images, self.positions, self.p = images, positions, p

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, place: int) -> tuple[int, torch.Tensor, torch.Tensor]:
        index = int(self.positions[place])
        image, target = self.images.image(index), pixel_targets(self.images, index)
        resized, _ = resize_pair(
            image, target, base_factor(image.shape[1], image.shape[0], self.p)
        )
        return index, normalise(resized), torch.from_numpy(target)
