"""One loader executes any view plan: an image is opened once a sample,
crops come out as uint8 tensors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Sampler

from bench.contracts.network import Batch, Views
from bench.contracts.views import Box, Sample, Viewer, ViewSpec
from bench.contracts.views import Sampler as CropSampler
from bench.core.processes import start_worker
from bench.core.seeds import rng_for
from bench.views.augment import augment
from bench.views.sample import choose_crop, photometric

if TYPE_CHECKING:
    from bench.contracts.images import ImageSet

Key = tuple[int, int]  # epoch, sample
CACHE_BYTES = 128 << 20  # decoded images a worker keeps, when the whole set fits


def crop_resize(image: np.ndarray, box: Box, size: int, mode: str = "bilinear") -> Tensor:
    """(H, W, 3) uint8, whole-pixel xyxy box -> (3, size, size) uint8, antialiased: what
    torchvision's `resized_crop(..., antialias=True)` gives."""
    x1, y1, x2, y2 = map(int, box)
    pixels = np.ascontiguousarray(image[y1:y2, x1:x2])
    if not pixels.flags.writeable:  # torch warns about arrays it could write through
        pixels = pixels.copy()
    part = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    if part.shape[-2:] == (size, size):
        return part[0].contiguous()
    return F.interpolate(part, (size, size), mode=mode, antialias=True, align_corners=False)[0]


class ViewDataset(Dataset[dict[str, Any]]):
    """Samples by (epoch, position):
    the same views whatever the number of workers or the starting step."""

    def __init__(self, images: ImageSet, sampler: CropSampler, viewer: Viewer, seed: int) -> None:
        self.images, self.sampler, self.viewer, self.seed = images, sampler, viewer, seed
        total = int(np.prod(images.sizes.astype(np.int64), axis=1).sum()) * 3
        self.keep = total <= CACHE_BYTES
        self.cache: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.sampler)

    def __getitem__(self, key: Key) -> dict[str, Any]:
        epoch, index = key
        rng = rng_for(self.seed, "views", epoch, index)
        sample = self.viewer(self.sampler.sources(index, rng), rng)
        opened: dict[int, np.ndarray] = {}
        views = [self._view(spec, opened, rng) for spec in sample.views]
        return {"views": views, "sample": sample}

    def _view(
        self, spec: ViewSpec, opened: dict[int, np.ndarray], rng: np.random.Generator
    ) -> tuple[Tensor, np.ndarray, Box]:
        image = opened.get(spec.image)
        if image is None:
            image = opened[spec.image] = self._image(spec.image)
        box = choose_crop(spec, image.shape[1], image.shape[0], rng)
        params = photometric(spec, rng)
        return crop_resize(image, box, spec.size, spec.interpolation), params, box

    def _image(self, index: int) -> np.ndarray:
        if not self.keep:
            return self.images.image(index)
        if index not in self.cache:
            self.cache[index] = self.images.image(index)
        return self.cache[index]


def collate(items: list[dict[str, Any]]) -> dict[str, Any]:
    """Stack equal roles over samples, and the extra arrays by name."""
    roles: dict[str, dict[str, Any]] = {}
    first: Sample = items[0]["sample"]
    for at, spec in enumerate(first.views):
        specs = [item["sample"].views[at] for item in items]
        roles[spec.role] = {
            "images": torch.stack([item["views"][at][0] for item in items]),
            "params": torch.from_numpy(np.stack([item["views"][at][1] for item in items])),
            "boxes": torch.tensor([item["views"][at][2] for item in items], dtype=torch.float32),
            "index": torch.tensor([s.image for s in specs]),
            "objects": torch.tensor([s.kind == "object" for s in specs]),
        }
    names = first.extra
    extra = {n: torch.from_numpy(np.stack([i["sample"].extra[n] for i in items])) for n in names}
    return {"roles": roles, "extra": extra}


def steps_per_epoch(n: int, batch_size: int) -> int:
    """Batches of an epoch: the last partial one is dropped,
    a set smaller than a batch is one batch."""
    return max(1, n // batch_size)


class BatchOrder(Sampler[list[Key]]):
    """The batches of a whole training: every epoch a new permutation, from the base seed alone, so
    that crops with equally many samples see them in one order.

    n: samples an epoch; the last partial batch is dropped,
    but a set smaller than a batch is one batch.
    start_step: where to begin. rank, world_size: a process takes its share of each global batch,
    and in `parts` equal parts one after another.
    """

    def __init__(
        self,
        n: int,
        batch_size: int,
        epochs: int,
        seed: int,
        start_step: int = 0,
        rank: int = 0,
        world_size: int = 1,
        parts: int = 1,
    ) -> None:
        self.n, self.batch, self.epochs, self.seed = n, min(batch_size, n), epochs, seed
        self.start, self.rank, self.world, self.parts = start_step, rank, world_size, parts
        self.steps_per_epoch = steps_per_epoch(n, batch_size)
        share = world_size * parts
        if self.batch % share:
            from bench.core.errors import BadInput

            what = f"{world_size} devices" + (f" x {parts} parts" if parts > 1 else "")
            raise BadInput(
                f"batch_size {self.batch} must divide over {what}; "
                f"try: --set method.batch_size={(self.batch // share or 1) * share}"
            )

    def __len__(self) -> int:
        return (self.epochs * self.steps_per_epoch - self.start) * self.parts

    def __iter__(self) -> Iterator[list[Key]]:
        share, size = self.batch // self.world, self.batch // self.world // self.parts
        for epoch in range(self.start // self.steps_per_epoch, self.epochs):
            order = rng_for(self.seed, "order", epoch).permutation(self.n)
            skip = max(0, self.start - epoch * self.steps_per_epoch)
            for step in range(skip, self.steps_per_epoch):
                low = step * self.batch + self.rank * share
                for first in range(low, low + share, size):
                    yield [(epoch, int(i)) for i in order[first : first + size]]


def make_loader(
    images: ImageSet,
    sampler: CropSampler,
    viewer: Viewer,
    seed: int,
    order: BatchOrder,
    workers: int,
    pin: bool = False,
) -> DataLoader[Any]:
    """Batches (CPU, uint8, not yet augmented) in the order given."""
    dataset = ViewDataset(images, sampler, viewer, seed)
    return DataLoader(
        dataset,
        batch_sampler=order,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=pin,
        worker_init_fn=start_worker if workers else None,
        prefetch_factor=4 if workers else None,
    )


def to_device(
    batch: dict[str, Any], device: torch.device | str, step: int, total_steps: int
) -> Batch:
    """Move a collated batch and augment each role there."""
    views = {}
    for role, part in batch["roles"].items():
        params = part["params"].to(device, non_blocking=True)
        images = augment(part["images"].to(device, non_blocking=True), params)
        views[role] = Views(
            images.contiguous(memory_format=torch.channels_last),
            part["boxes"].to(device, non_blocking=True),
            params[:, 0] > 0,
            part["index"].to(device, non_blocking=True),
            part["objects"].to(device, non_blocking=True),
        )
    extra = {name: value.to(device, non_blocking=True) for name, value in batch["extra"].items()}
    return Batch(views, extra, step, total_steps)
