"""Detector inputs: resize as the papers' code does (PIL, antialiased), flip, batches by step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from pycocotools import mask as coco_mask
from torch.nn import functional as F
from torch.utils.data import Dataset, Sampler
from torchvision.models.detection.image_list import ImageList

from bench.data.base import ImageSet
from bench.seeds import rng_for
from bench.views.augment import MEAN, STD

DIVISOR = 32


def resized(width: int, height: int, short: int, longest: int) -> tuple[int, int]:
    """(width, height) with the short side at `short`, unless the long side would exceed `longest`; rounded
    half up, as detectron2 does."""
    factor = short / min(width, height)
    if max(width, height) * factor > longest:
        factor = longest / max(width, height)
    return int(width * factor + 0.5), int(height * factor + 0.5)


def resize_image(image: np.ndarray, size: tuple[int, int]) -> torch.Tensor:
    """(H, W, 3) uint8 -> (3, h, w) uint8, PIL's antialiased bilinear; size = (width, height)."""
    small = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
    return torch.from_numpy(np.ascontiguousarray(small.transpose(2, 0, 1)))


def decode_mask(segmentation: Any, height: int, width: int) -> np.ndarray:
    """COCO polygons, uncompressed or compressed RLE -> (height, width) uint8."""
    if isinstance(segmentation, list):
        rle = coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):
        rle = coco_mask.frPyObjects(segmentation, height, width)
    else:
        rle = {"size": segmentation["size"], "counts": segmentation["counts"].encode()}
    found: np.ndarray = coco_mask.decode(rle)
    return found


def usable(images: ImageSet) -> np.ndarray:
    """Positions of images with an object that is no crowd: what detectors train on."""
    return np.array([i for i in range(len(images)) if not images.objects(i).crowd.all()], np.int64)


@dataclass(frozen=True)
class TrainKey:
    """One training sample: optimiser step, place in the batch, image position."""

    step: int
    place: int
    index: int


class StepBatches(Sampler[list[TrainKey]]):
    """The batches of a whole training from `start`: images of one orientation together, an endless stream of
    permutations, from the seed alone."""

    def __init__(
        self, sizes: np.ndarray, positions: np.ndarray, batch: int, steps: int, seed: int, start: int
    ):
        self.sizes, self.positions, self.batch = sizes, positions, batch
        self.steps, self.seed, self.start = steps, seed, start

    def __len__(self) -> int:
        return self.steps - self.start

    def __iter__(self) -> Iterator[list[TrainKey]]:
        step, epoch = 0, 0
        waiting: tuple[list[int], list[int]] = ([], [])
        while step < self.steps:
            order = rng_for(self.seed, "detector order", epoch).permutation(self.positions)
            epoch += 1
            for index in order:
                bucket = waiting[int(self.sizes[index, 0] > self.sizes[index, 1])]
                bucket.append(int(index))
                if len(bucket) < self.batch or step >= self.steps:
                    continue
                if step >= self.start:
                    yield [TrainKey(step, i, at) for i, at in enumerate(bucket)]
                bucket.clear()
                step += 1


class TrainImages(Dataset[dict[str, Any]]):
    """Samples by TrainKey: resized, flipped, with targets; the same whatever the number of workers."""

    def __init__(self, images: ImageSet, sizes: tuple[int, ...], longest: int, seed: int) -> None:
        self.images, self.sizes, self.longest, self.seed = images, sizes, longest, seed

    def __getitem__(self, key: TrainKey) -> dict[str, Any]:
        rng = rng_for(self.seed, "detector sample", key.step, key.place)
        image = self.images.image(key.index)
        height, width = image.shape[:2]
        size = resized(width, height, int(rng.choice(self.sizes)), self.longest)
        objects = self.images.objects(key.index)
        keep = ~objects.crowd
        boxes = objects.boxes[keep].astype(np.float64)
        segmentations = [s for s, k in zip(objects.segmentations or [], keep, strict=True) if k]
        masks = np.stack([decode_mask(s, height, width) for s in segmentations])
        if rng.random() < 0.5:
            image, masks = image[:, ::-1], masks[:, :, ::-1]
            boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
        scale = np.array([width / size[0], height / size[1]])
        return {
            "image": resize_image(np.ascontiguousarray(image), size),
            "boxes": torch.from_numpy((boxes / np.tile(scale, 2)).astype(np.float32)),
            "labels": torch.from_numpy(objects.labels[keep] + 1),
            "masks": torch.from_numpy(np.ascontiguousarray(masks)),
            "scale": torch.from_numpy(scale.astype(np.float32)),
        }


class TestImages(Dataset[dict[str, Any]]):
    """Every image at the test size, with its original (width, height)."""

    def __init__(self, images: ImageSet, short: int, longest: int) -> None:
        self.images, self.short, self.longest = images, short, longest

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image = self.images.image(index)
        height, width = image.shape[:2]
        size = resized(width, height, self.short, self.longest)
        return {"image": resize_image(image, size), "original": (width, height), "index": index}


def batch_images(samples: list[dict[str, Any]], device: torch.device) -> ImageList:
    """Normalised images padded with zeros at the right and bottom to one size divisible by 32."""
    mean = torch.tensor(MEAN, device=device).view(3, 1, 1) * 255
    std = torch.tensor(STD, device=device).view(3, 1, 1) * 255
    tensors = [(s["image"].to(device).float() - mean) / std for s in samples]
    height = max(-(-t.shape[1] // DIVISOR) * DIVISOR for t in tensors)
    width = max(-(-t.shape[2] // DIVISOR) * DIVISOR for t in tensors)
    padded = torch.stack([F.pad(t, (0, width - t.shape[2], 0, height - t.shape[1])) for t in tensors])
    return ImageList(padded, [(t.shape[1], t.shape[2]) for t in tensors])
