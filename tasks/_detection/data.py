"""Detector inputs: resized as the papers' code does (PIL, antialiased), flipped, with targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F
from torch.utils.data import Dataset
from torchvision.models.detection.image_list import ImageList

from bench.contracts.images import ImageSet
from bench.core.seeds import rng_for
from bench.views.augment import MEAN, STD
from tasks._detection.targets import box_visible_parts, decode_mask, flip_keypoints
from tasks._shared.finetune import Key


def fit_size(width: int, height: int, short: int, longest: int) -> tuple[int, int]:
    """(width, height) with the short side at `short`, unless the long side would exceed `longest`;
    rounded half up, as detectron2 does; at least 1 pixel, where it would say 0."""
    factor = short / min(width, height)
    if max(width, height) * factor > longest:
        factor = longest / max(width, height)
    return max(int(width * factor + 0.5), 1), max(int(height * factor + 0.5), 1)


def resize_image(image: np.ndarray, size: tuple[int, int]) -> torch.Tensor:
    """(H, W, 3) uint8 -> (3, h, w) uint8, PIL's antialiased bilinear; size = (width, height)."""
    small = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))
    return torch.from_numpy(np.ascontiguousarray(small.transpose(2, 0, 1)))


Sample = dict[str, torch.Tensor]  # an image and its targets, by the names of `TrainImages`


class TestSample(TypedDict):
    """image: (3, h, w) uint8 at the test size. original: its (width, height). index: position in
    the set."""

    image: torch.Tensor
    original: tuple[int, int]
    index: int


class TrainImages(Dataset[Sample]):
    """Samples by Key: resized, flipped, with targets; the same whatever the number of workers."""

    def __init__(
        self,
        images: ImageSet,
        sizes: tuple[int, ...],
        longest: int,
        seed: int,
        kinds: tuple[str, ...] = ("bbox", "segm"),
    ) -> None:
        self.images, self.sizes, self.longest = images, sizes, longest
        self.seed, self.kinds = seed, kinds

    def __getitem__(self, key: Key) -> Sample:
        rng = rng_for(self.seed, "detector sample", key.step, key.place)
        image = self.images.image(key.index)
        height, width = image.shape[:2]
        size = fit_size(width, height, int(rng.choice(self.sizes)), self.longest)
        scale = np.array([width / size[0], height / size[1]])
        flip = rng.random() < 0.5
        targets = self._make_targets(key.index, width, height, scale, flip)
        if flip:
            image = image[:, ::-1]
        return {"image": resize_image(np.ascontiguousarray(image), size), **targets}

    def _make_targets(
        self, index: int, width: int, height: int, scale: np.ndarray, flip: bool
    ) -> dict[str, torch.Tensor]:
        objects = self.images.objects(index)
        keep = ~objects.crowd
        boxes = objects.boxes[keep].astype(np.float64)
        if flip:
            boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
        targets = {
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
            targets["masks"] = torch.from_numpy(np.ascontiguousarray(masks))
        if "keypoints" in self.kinds:
            assert objects.keypoints is not None
            points = objects.keypoints[keep].astype(np.float64)
            points[:, :, :2] += 0.5  # COCO gives indices of pixels
            if flip:
                points = flip_keypoints(points, width, self.images.keypoint_names)
            points[:, :, :2] /= scale
            targets["keypoints"] = torch.from_numpy(points.astype(np.float32))
        return targets


class JitteredImages(TrainImages):
    """Large scale jitter (Ghiasi et al. 2021, as ViTDet uses it): flipped, scaled so that the
    image fits into `jitter` x the crop's side, then cut to at most that side at a random place.
    Boxes are those of the visible part of the mask; objects without one are left out."""

    def __init__(
        self, images: ImageSet, sizes: tuple[int, ...], jitter: tuple[float, float], seed: int
    ) -> None:
        super().__init__(images, sizes, 0, seed)
        self.jitter = jitter

    def __getitem__(self, key: Key) -> Sample:
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
        whole = self._make_targets(key.index, width, height, scale, flip)
        boxes = box_visible_parts(whole["masks"].numpy(), corner * scale, end * scale)
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


class TestImages(Dataset[TestSample]):
    """Every image at the test size, with its original (width, height)."""

    def __init__(self, images: ImageSet, short: int, longest: int) -> None:
        self.images, self.short, self.longest = images, short, longest

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> TestSample:
        image = self.images.image(index)
        height, width = image.shape[:2]
        size = fit_size(width, height, self.short, self.longest)
        return {"image": resize_image(image, size), "original": (width, height), "index": index}


def batch_images(
    samples: Sequence[Sample | TestSample], device: torch.device, divisor: int = 32
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
