"""Training crops and test images with their labels, as pure functions of a step and a place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from bench.contracts.images import ImageSet
from bench.core.seeds import rng_for
from bench.data.preprocess import Transform
from bench.views.loader import crop_resize
from bench.views.sample import random_resized_crop
from tasks._shared.finetune import Key


@dataclass(frozen=True)
class Labelled:
    """positions: (n,) of the images that are used. targets: (n,) int64, or (n, K) int8 with the
    values of `bench.data.semantic.image_labels`."""

    images: ImageSet
    positions: np.ndarray
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.positions)

    def part(self, places: np.ndarray) -> Labelled:
        """The images at `places` of `positions`."""
        return Labelled(self.images, self.positions[places], self.targets[places])


class TrainCrops(Dataset[tuple[Tensor, Tensor]]):
    """Random resized crops with a flip, (3, s, s) uint8, by Key; the same whatever the number of
    workers."""

    def __init__(self, labelled: Labelled, size: int, min_scale: float, seed: int) -> None:
        self.labelled, self.size, self.min_scale, self.seed = labelled, size, min_scale, seed

    def __getitem__(self, key: Key) -> tuple[Tensor, Tensor]:
        rng = rng_for(self.seed, "classification crop", key.step, key.place)
        image = self.labelled.images.image(int(self.labelled.positions[key.index]))
        height, width = image.shape[:2]
        box = random_resized_crop(rng, (0, 0, width, height), (self.min_scale, 1.0))
        crop = crop_resize(image, box, self.size)
        if rng.random() < 0.5:
            crop = crop.flip(-1)
        return crop, torch.as_tensor(self.labelled.targets[key.index])


class TestCrops(Dataset[Tensor]):
    """The central crop of each image, (3, s, s) uint8."""

    __test__ = False

    def __init__(self, labelled: Labelled, resize: int, size: int) -> None:
        self.labelled, self.show = labelled, Transform("center", resize, size)

    def __len__(self) -> int:
        return len(self.labelled)

    def __getitem__(self, place: int) -> Tensor:
        return self.show(self.labelled.images.image(int(self.labelled.positions[place])))
