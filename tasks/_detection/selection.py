"""Which images a detector trains on, of which classes, and in what order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np
from torch.utils.data import Sampler

from bench.contracts.images import ImageSet, Objects
from bench.core.errors import BadData
from bench.core.seeds import rng_for
from tasks._shared.finetune import Key


def find_usable(images: ImageSet, kinds: tuple[str, ...] = ("bbox",)) -> np.ndarray:
    """Positions of images with an object that is no crowd (keypoints: and has a labelled
    keypoint): what detectors train on. BadData if masks are among the kinds and such an object has
    none."""
    return np.array([i for i in range(len(images)) if _is_usable(images, i, kinds)], np.int64)


def _is_usable(images: ImageSet, index: int, kinds: tuple[str, ...]) -> bool:
    objects = images.objects(index)
    fit = ~objects.crowd
    if "segm" in kinds:
        masks = objects.segmentations or [None] * len(fit)
        bare = [int(i) for i, m, f in zip(objects.ids, masks, fit, strict=True) if f and not m]
        if bare:
            raise BadData(
                f"{images.name}/{images.split}: annotation {bare[0]} of image {images.ids[index]} "
                "has no mask, which instance segmentation needs; download the annotations again"
            )
    if "keypoints" in kinds and objects.keypoints is not None:
        fit = fit & (objects.keypoints[:, :, 2] > 0).any(1)
    return bool(fit.any())


def choose_fraction(ids: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Positions, ascending, of the round(fraction x n) images whose sha256 of the text "seed/id"
    is least, so that a subset is known from its seed and the ids alone."""
    rank = [hashlib.sha256(f"{seed}/{int(image)}".encode()).hexdigest() for image in ids]
    return np.sort(np.argsort(np.array(rank))[: max(round(fraction * len(ids)), 1)])


class StepBatches(Sampler[list[Key]]):
    """The batches of a whole training from `start`: images of one orientation together, an endless
    stream of permutations, from the seed alone."""

    def __init__(
        self,
        sizes: np.ndarray,
        positions: np.ndarray,
        batch: int,
        steps: int,
        seed: int,
        start: int,
    ):
        self.sizes, self.positions, self.batch = sizes, positions, batch
        self.steps, self.seed, self.start = steps, seed, start

    def __len__(self) -> int:
        return self.steps - self.start

    def __iter__(self) -> Iterator[list[Key]]:
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
                    yield [Key(step, i, at) for i, at in enumerate(bucket)]
                bucket.clear()
                step += 1


class OneClass(ImageSet):
    """The objects of one class of a set, the only one with keypoints: "person", or the set's one
    class."""

    def __init__(self, images: ImageSet) -> None:
        self.images, self.name, self.split = images, images.name, images.split
        self.ids, self.sizes, self.keypoint_names = images.ids, images.sizes, images.keypoint_names
        self.label = images.classes.index("person") if "person" in images.classes else 0
        if "person" not in images.classes and len(images.classes) > 1:
            raise BadData(f"{images.name}/{images.split} has several classes, none of them person")
        self.classes = [images.classes[self.label]]

    def file(self, index: int) -> Path:
        return self.images.file(index)

    def objects(self, index: int) -> Objects:
        whole = self.images.objects(index)
        mine = whole.labels == self.label
        kept = {
            f.name: getattr(whole, f.name)[mine]
            for f in fields(Objects)
            if f.name not in ("segmentations", "labels")
        }
        masks = whole.segmentations and [
            s for s, m in zip(whole.segmentations, mine, strict=True) if m
        ]
        return Objects(**kept, labels=np.zeros(int(mine.sum()), np.int64), segmentations=masks)
