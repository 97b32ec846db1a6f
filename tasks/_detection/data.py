"""Detector inputs: resize as the papers' code does (PIL, antialiased), flip, batches by step."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from pycocotools import mask as coco_mask
from torch.nn import functional as F
from torch.utils.data import Dataset, Sampler
from torchvision.models.detection.image_list import ImageList

from bench.contracts.images import ImageSet, Objects
from bench.core.errors import BadData
from bench.core.seeds import rng_for
from bench.views.augment import MEAN, STD
from tasks._shared.finetune import Key


def resized_size(width: int, height: int, short: int, longest: int) -> tuple[int, int]:
    """(width, height) with the short side at `short`, unless the long side would exceed `longest`;
    rounded half up, as detectron2 does."""
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


def usable_positions(images: ImageSet, kinds: tuple[str, ...] = ("bbox",)) -> np.ndarray:
    """Positions of images with an object that is no crowd (keypoints: and has a labelled
    keypoint): what detectors train on. BadData if masks are among the kinds and such an object has
    none."""
    return np.array([i for i in range(len(images)) if _usable(images, i, kinds)], np.int64)


def _usable(images: ImageSet, index: int, kinds: tuple[str, ...]) -> bool:
    objects = images.objects(index)
    fit = ~objects.crowd
    if "segm" in kinds:
        masks = objects.segmentations or [None] * len(fit)
        bare = [int(i) for i, m, f in zip(objects.ids, masks, fit, strict=True) if f and not m]
        if bare:
            raise BadData(
                f"{images.name}/{images.split}: annotation {bare[0]} of image {images.ids[index]} "
                "has no "
                "mask, which instance segmentation needs; download the annotations again"
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


class TrainImages(Dataset[dict[str, Any]]):
    """Samples by Key: resized, flipped, with targets; the same whatever the number of workers."""

    def __init__(
        self,
        images: ImageSet,
        sizes: tuple[int, ...],
        longest: int,
        seed: int,
        kinds: tuple[str, ...] = ("bbox", "segm"),
    ) -> None:
        self.images, self.sizes, self.longest, self.seed, self.kinds = (
            images,
            sizes,
            longest,
            seed,
            kinds,
        )

    def __getitem__(self, key: Key) -> dict[str, Any]:
        rng = rng_for(self.seed, "detector sample", key.step, key.place)
        image = self.images.image(key.index)
        height, width = image.shape[:2]
        size = resized_size(width, height, int(rng.choice(self.sizes)), self.longest)
        scale = np.array([width / size[0], height / size[1]])
        flip = rng.random() < 0.5
        targets = self._targets(key.index, width, height, scale, flip)
        if flip:
            image = image[:, ::-1]
        return {"image": resize_image(np.ascontiguousarray(image), size), **targets}

    def _targets(
        self, index: int, width: int, height: int, scale: np.ndarray, flip: bool
    ) -> dict[str, torch.Tensor]:
        objects = self.images.objects(index)
        keep = ~objects.crowd
        boxes = objects.boxes[keep].astype(np.float64)
        if flip:
            boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
        found = {
            "boxes": torch.from_numpy((boxes / np.tile(scale, 2)).astype(np.float32)),
            "labels": torch.from_numpy(objects.labels[keep] + 1),
            "scale": torch.from_numpy(scale.astype(np.float32)),
        }
        if "segm" in self.kinds:
            segmentations = [
                s for s, k in zip(objects.segmentations or [], keep, strict=True) if k
            ]
            masks = np.stack([decode_mask(s, height, width) for s in segmentations])
            masks = masks[:, :, ::-1] if flip else masks
            found["masks"] = torch.from_numpy(np.ascontiguousarray(masks))
        if "keypoints" in self.kinds:
            assert objects.keypoints is not None
            points = objects.keypoints[keep].astype(np.float64)
            points[:, :, :2] += 0.5  # COCO gives indices of pixels
            if flip:
                points = flip_keypoints(points, width, self.images.keypoint_names)
            points[:, :, :2] /= scale
            found["keypoints"] = torch.from_numpy(points.astype(np.float32))
        return found


class JitteredImages(TrainImages):
    """Large scale jitter (Ghiasi et al. 2021, as ViTDet uses it): flipped, scaled so that the
    image fits into `jitter` x the crop's side, then cut to at most that side at a random place.
    Boxes are those of the visible part of the mask; objects without one are left out."""

    def __init__(
        self, images: ImageSet, sizes: tuple[int, ...], jitter: tuple[float, float], seed: int
    ) -> None:
        super().__init__(images, sizes, 0, seed)
        self.jitter = jitter

    def __getitem__(self, key: Key) -> dict[str, Any]:
        rng = rng_for(self.seed, "detector sample", key.step, key.place)
        image = self.images.image(key.index)
        height, width = image.shape[:2]
        side = int(rng.choice(self.sizes))
        flip, factor = rng.random() < 0.5, float(rng.uniform(*self.jitter))
        ratio = min(factor * side / height, factor * side / width)
        size = max(int(width * ratio + 0.5), 1), max(int(height * ratio + 0.5), 1)
        scale = np.array([width / size[0], height / size[1]])
        corner = np.array([int(rng.integers(max(s - side, 0) + 1)) for s in size])
        end = np.minimum(corner + side, size)
        whole = self._targets(key.index, width, height, scale, flip)
        boxes = visible_boxes(whole["masks"].numpy(), corner * scale, end * scale)
        keep = torch.from_numpy((boxes[:, 2:] > boxes[:, :2]).all(1))
        placed = (boxes - np.tile(corner * scale, 2)) / np.tile(scale, 2)
        shown = resize_image(np.ascontiguousarray(image[:, ::-1] if flip else image), size)
        return {
            "image": shown[:, corner[1] : end[1], corner[0] : end[0]].contiguous(),
            "boxes": torch.from_numpy(placed.astype(np.float32))[keep],
            "labels": whole["labels"][keep],
            "masks": whole["masks"][keep],
            "scale": whole["scale"],
            "origin": torch.from_numpy((corner * scale).astype(np.float32)),
        }


def visible_boxes(masks: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """(n, 4) xyxy of the parts of the masks (n, H, W) between the corners (x, y) `low` and `high`;
    zeros where nothing is left."""
    found = np.zeros((len(masks), 4))
    first, last = np.floor(low).astype(int), np.ceil(high).astype(int)
    for box, mask in zip(found, masks, strict=True):
        part = mask[first[1] : last[1], first[0] : last[0]]
        xs, ys = np.flatnonzero(part.any(0)), np.flatnonzero(part.any(1))
        if len(xs):
            edges = np.array([xs[0], ys[0], xs[-1] + 1, ys[-1] + 1]) + np.tile(first, 2)
            box[:] = np.clip(edges, np.tile(low, 2), np.tile(high, 2))
    return found


def flip_keypoints(points: np.ndarray, width: int, names: Sequence[str]) -> np.ndarray:
    """(n, k, 3) mirrored in an image of this width: x becomes width - x, left and right change
    places by their names; keypoints that are not labelled (visibility 0) stay zero."""
    other = {"left": "right", "right": "left"}
    swapped = ["_".join(other.get(part, part) for part in name.split("_")) for name in names]
    found = points[:, [list(names).index(name) for name in swapped]].copy()
    found[:, :, 0] = np.where(found[:, :, 2] > 0, width - found[:, :, 0], 0)
    return found


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


class TestImages(Dataset[dict[str, Any]]):
    """Every image at the test size, with its original (width, height)."""

    def __init__(self, images: ImageSet, short: int, longest: int) -> None:
        self.images, self.short, self.longest = images, short, longest

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        image = self.images.image(index)
        height, width = image.shape[:2]
        size = resized_size(width, height, self.short, self.longest)
        return {"image": resize_image(image, size), "original": (width, height), "index": index}


def batch_images(
    samples: list[dict[str, Any]], device: torch.device, divisor: int = 32
) -> ImageList:
    """Normalised images padded with zeros at the right and bottom to one size divisible by
    `divisor`."""
    mean = torch.tensor(MEAN, device=device).view(3, 1, 1) * 255
    std = torch.tensor(STD, device=device).view(3, 1, 1) * 255
    tensors = [(s["image"].to(device).float() - mean) / std for s in samples]
    height = max(-(-t.shape[1] // divisor) * divisor for t in tensors)
    width = max(-(-t.shape[2] // divisor) * divisor for t in tensors)
    padded = torch.stack(
        [F.pad(t, (0, width - t.shape[2], 0, height - t.shape[1])) for t in tensors]
    )
    return ImageList(padded, [(t.shape[1], t.shape[2]) for t in tensors])
